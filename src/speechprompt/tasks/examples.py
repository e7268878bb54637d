"""What a task's training and evaluation see of a split."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Examples"]


@dataclass(frozen=True)
class Examples:
    """Utterances of one split, in the split's order.

    Attributes:
        utt_ids: their names.
        units: units 0..K-1 of each utterance.
        labels: label indices 0..n_labels-1 of each utterance's answer; none where only its
            reference is wanted.
        references: each answer written down.
    """

    utt_ids: list[str]
    units: list[np.ndarray]
    labels: list[list[int]]
    references: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.utt_ids)
