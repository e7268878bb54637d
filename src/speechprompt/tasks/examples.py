"""Examples: the utterances of a split as training and evaluation see them."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from speechprompt.errors import CorpusError

__all__ = ["Examples", "draw_few", "few_examples"]


@dataclass(frozen=True, repr=False)
class Examples:
    """Utterances of one split, in the split's order.

    Attributes:
        utt_ids: names of the utterances.
        units: units 0..K-1 of each utterance.
        labels: label indices 0..n_labels-1 of each reference; empty where only the references are
            wanted.
        references: the right answer to each utterance, in writing.
        speakers: the speaker of each utterance, None where it is not known.
        renditions: units of each utterance at other speeds; empty where there are none.
    """

    utt_ids: list[str]
    units: list[np.ndarray]
    labels: list[list[int]]
    references: list[str] = field(default_factory=list)
    speakers: list[str | None] = field(default_factory=list)
    renditions: list[list[np.ndarray]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.utt_ids)

    def __repr__(self) -> str:
        return f"<Examples: {len(self)} utterances>"

    def rows(self) -> Iterator[tuple[str, np.ndarray, list[int]]]:
        """Name, units and label indices of each utterance."""
        return zip(self.utt_ids, self.units, self.labels, strict=True)

    def heard(self) -> list[list[np.ndarray]]:
        """Units of each utterance as it was recorded, and then of its renditions."""
        renditions = self.renditions or [[]] * len(self)
        return [[own, *others] for own, others in zip(self.units, renditions, strict=True)]


def few_examples(examples: Examples, n: int, seed: int) -> Examples:
    """Draw ``n`` utterances, as evenly over their answers as these allow.

    Raises:
        CorpusError: there are fewer utterances.
    """
    answers = [tuple(answer) for answer in examples.labels] or examples.references
    chosen = draw_few(answers, n, seed)
    return replace(
        examples,
        utt_ids=[examples.utt_ids[i] for i in chosen],
        units=[examples.units[i] for i in chosen],
        labels=[examples.labels[i] for i in chosen if examples.labels],
        references=[examples.references[i] for i in chosen if examples.references],
        speakers=[examples.speakers[i] for i in chosen if examples.speakers],
        renditions=[examples.renditions[i] for i in chosen if examples.renditions],
    )


def draw_few(answers: Sequence[Hashable], n: int, seed: int) -> list[int]:
    """Draw ``n`` utterances of a train split by their answers, as evenly as these allow.

    Every answer gets one utterance, then another one, and so on.

    Returns:
        The rows of those drawn, in the split's order.

    Raises:
        CorpusError: there are fewer utterances.
    """
    if n > len(answers):
        raise CorpusError(
            f"training.utterances: expected at most the {len(answers)} of train, found {n}"
        )
    taken: dict[Hashable, int] = defaultdict(int)
    turns = []
    for i in np.random.default_rng(seed).permutation(len(answers)).tolist():
        turns.append((taken[answers[i]], i))
        taken[answers[i]] += 1
    # The sort is stable: within a turn the utterances stay in their random order.
    return sorted(i for _, i in sorted(turns, key=lambda turn: turn[0])[:n])
