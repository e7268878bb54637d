"""A prompt as plain tensors, as the unit LM takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["PromptTensors"]


@dataclass(frozen=True)
class PromptTensors:
    """A prompt as the model takes it, or several prompts one after the other.

    Attributes:
        separator: (D,) embedding that stands for ``<s>``, before scaling; None keeps the LM's own.
            With several prompts it is (P, D), and each row of the batch has that of its owner.
        rows: (L, D) input prompt, or None.
        layers: the layers with deep rows.
        keys, values: (layers, L, D) deep rows, which stand in the place of the LayerNorm's output
            before the frozen projections; None without such layers.
        shifts: (layers, L + 1, D) what is added to query rows and separator in front of each layer;
            None without query rows. With several members of a prompt it is (layers, M, L + 1, D),
            rows are (M, L, D) and the separator (M, D).
        label_shifts: (layers, n_labels, D) what is added to labels behind the separator, beside its
            shifts; None without shifts of their own.
    """

    separator: Tensor | None = None
    rows: Tensor | None = None
    layers: Sequence[int] = ()
    keys: Tensor | None = None
    values: Tensor | None = None
    shifts: Tensor | None = None
    label_shifts: Tensor | None = None

    @property
    def in_front(self) -> PromptTensors | None:
        """The deep rows alone, which an utterance sees when query rows stand behind it."""
        if self.keys is None:
            return None
        return PromptTensors(layers=self.layers, keys=self.keys, values=self.values)

    @property
    def n_behind(self) -> int:
        """Number of query rows and separators."""
        return 0 if self.shifts is None else self.shifts[0, ..., 0].numel()

    @property
    def shifts_behind(self) -> Tensor | None:
        """Shifts of tokens behind the separator: (layers, 1, D), or by label (layers, n_labels, D).

        Every token has the separator's shifts, and a label its own beside them.
        """
        if self.shifts is None:
            return None
        behind = self.shifts[:, -1:]
        return behind if self.label_shifts is None else behind + self.label_shifts
