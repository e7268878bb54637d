"""Examples: the utterances of a split as training and evaluation see them."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from speechprompt.errors import CorpusError

__all__ = ["Examples", "few_examples"]


@dataclass(frozen=True)
class Examples:
    """Utterances of one split, in the split's order.

    Attributes:
        utt_ids: names of the utterances.
        units: units 0..K-1 of each utterance.
        labels: label indices 0..n_labels-1 of each reference; empty where only the references are
            wanted.
        references: the right answer to each utterance, in writing.
    """

    utt_ids: list[str]
    units: list[np.ndarray]
    labels: list[list[int]]
    references: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.utt_ids)

    def rows(self) -> Iterator[tuple[str, np.ndarray, list[int]]]:
        """Name, units and label indices of each utterance."""
        return zip(self.utt_ids, self.units, self.labels, strict=True)


def few_examples(examples: Examples, n: int, seed: int) -> Examples:
    """Draw ``n`` utterances, as evenly over their answers as these allow.

    Every answer gets one utterance, then another one, and so on. The utterances stay in the split's
    order.

    Raises:
        CorpusError: there are fewer utterances.
    """
    if n > len(examples):
        raise CorpusError(
            f"training.utterances: expected at most the {len(examples)} of train, found {n}"
        )
    taken: dict[tuple[int, ...], int] = defaultdict(int)
    turns = []
    answers = [tuple(answer) for answer in examples.labels or examples.references]
    for i in np.random.default_rng(seed).permutation(len(examples)):
        answer = answers[i]
        turns.append((taken[answer], i))
        taken[answer] += 1
    # The sort is stable: within a turn the utterances stay in their random order.
    chosen = sorted(i for _, i in sorted(turns, key=lambda turn: turn[0])[:n])
    return replace(
        examples,
        utt_ids=[examples.utt_ids[i] for i in chosen],
        units=[examples.units[i] for i in chosen],
        labels=[examples.labels[i] for i in chosen if examples.labels],
        references=[examples.references[i] for i in chosen if examples.references],
    )
