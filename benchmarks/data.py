"""Utterances with the lengths of keyword spotting and of transcription.

Units come from a file of the paper's lines (``u1 u2 … un <s> label``) or from a seeded generator
with the statistics of those lines. The statistics matter for speed: the utterances of a batch share
the computation of common prefixes, and padding depends on the differences of lengths.

The generator is a first-order Markov chain over 100 units without repeats. The r-th most likely
successor of a unit has a probability proportional to r^-1.6, and popular units are likely
successors of most others. Utterances begin with the r-th most likely unit in proportion to r^-3.
This reproduces the 24,821 distinct lines of Speech Commands: four in five begin with the same unit,
the entropy of the next unit is about 2.3 nats, and 89 % (86 %) of the tokens in a batch of 32 (128)
end a distinct prefix; in the paper's lines 89 % (85 %) do.

- ``ks``: 24 +- 4.6 units as in Speech Commands, one of 12 labels, 5 prompt rows.
- ``asr``: 400 +- 90 units, 0.43 characters of 29 per unit as in LibriSpeech train-clean-100
  (mean 173), 175 prompt rows (the paper's 4.5M parameters). The lines of a file are joined to such
  lengths; characters are always drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from speechprompt.errors import CorpusError
from speechprompt.tasks.examples import Examples

__all__ = ["LENGTHS", "N_UNITS", "Workload", "make_workload"]

N_UNITS = 100
LENGTHS = ("ks", "asr")


@dataclass(frozen=True)
class Workload:
    """The utterances of a measurement.

    Attributes:
        examples: the utterances.
        n_labels: number of label indices.
        prompt_length: rows of the prompt.
        answer: labels that inference generates per utterance.
    """

    examples: Examples
    n_labels: int
    prompt_length: int
    answer: int

    def batches(self, size: int) -> list[Examples]:
        """Batches that all have the same mixture of lengths, unlike random ones."""
        order = self._by_length()
        n = len(order) // size
        return [_subset(self.examples, order[i : n * size : n]) for i in range(n)]

    def sorted_batches(self, size: int) -> list[Examples]:
        """Batches of similar lengths, as fairseq makes them, with middle lengths first.

        The lengths of the first batches are therefore about the mean.
        """
        order = self._by_length()
        n = len(order) // size
        ranks = sorted(range(n), key=lambda i: abs(i - (n - 1) / 2))
        return [_subset(self.examples, order[i * size : (i + 1) * size]) for i in ranks]

    def _by_length(self) -> list[int]:
        units, labels = self.examples.units, self.examples.labels
        return sorted(range(len(units)), key=lambda i: len(units[i]) + len(labels[i]))


def make_workload(lengths: str, n: int, units_file: str | None = None, seed: int = 1) -> Workload:
    """Draw ``n`` utterances at the lengths ``ks`` or ``asr``.

    Raises:
        CorpusError: a line of ``units_file`` is not as described, or it has too few.
    """
    rng = np.random.default_rng([seed, LENGTHS.index(lengths)])
    if lengths == "ks":
        if units_file is not None:
            units, labels = _read(units_file)
            chosen = rng.permutation(len(units))[:n].tolist()
            if len(chosen) < n:
                raise CorpusError(
                    f"{units_file}: expected {n} distinct lines, found {len(chosen)}; "
                    "use a longer file"
                )
            units, labels = [units[i] for i in chosen], [labels[i] for i in chosen]
        else:
            units = _synthetic(rng, np.maximum(9, rng.normal(23.8, 4.6, n).round().astype(int)))
            labels = [[int(label)] for label in rng.integers(0, 12, n)]
        n_labels = max(12, 1 + max(chain.from_iterable(labels)))
        return Workload(_examples(units, labels), n_labels, prompt_length=5, answer=len(labels[0]))
    counts = rng.normal(400, 90, n).round().astype(int).clip(150, 600)
    if units_file is not None:
        units = _join(_read(units_file)[0], counts, rng)
    else:
        units = _synthetic(rng, counts)
    labels = [rng.integers(0, 29, round(0.43 * len(row))).tolist() for row in units]
    return Workload(_examples(units, labels), n_labels=29, prompt_length=175, answer=170)


def _synthetic(rng: np.random.Generator, counts: np.ndarray) -> list[np.ndarray]:
    rank = np.arange(1, N_UNITS)
    popularity = -np.log(np.arange(1, N_UNITS + 1))
    following = rank**-1.6 / (rank**-1.6).sum()
    order = np.argsort(-(popularity + rng.gumbel(size=(N_UNITS, N_UNITS))), axis=1)
    successors = np.array([row[row != unit] for unit, row in enumerate(order)])
    first = np.arange(1, N_UNITS + 1) ** -3.0
    sentences = []
    for count in counts:
        sentence = [rng.choice(N_UNITS, p=first / first.sum())]
        for step in rng.choice(N_UNITS - 1, count - 1, p=following):
            sentence.append(successors[sentence[-1], step])
        sentences.append(np.array(sentence))
    return sentences


def _read(path: str) -> tuple[list[np.ndarray], list[list[int]]]:
    """Read the distinct lines in their order; labels are numbered by first occurrence."""
    units, labels = [], []
    numbers: dict[str, int] = {}
    for line in dict.fromkeys(Path(path).read_text(encoding="utf-8").splitlines()):
        before, separator, after = line.partition("<s>")
        try:
            row = np.array(before.split(), np.int64)
        except ValueError:
            row = np.empty(0, np.int64)
        answer = after.split()
        if not (separator and len(row) and answer) or row.min() < 0 or row.max() >= N_UNITS:
            raise CorpusError(
                f"{path}: expected lines `u1 u2 … un <s> label` with units 0..{N_UNITS - 1}, "
                f"found {line!r}"
            )
        units.append(row)
        labels.append([numbers.setdefault(label, len(numbers)) for label in answer])
    return units, labels


def _join(
    units: list[np.ndarray], counts: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    rows = []
    for count in counts:
        joined: list[int] = []
        while len(joined) <= count:
            joined += units[rng.integers(len(units))].tolist()
        kept = joined[:1] + [unit for before, unit in pairwise(joined) if unit != before]
        rows.append(np.array(kept[:count]))
    return rows


def _examples(units: list[np.ndarray], labels: list[list[int]]) -> Examples:
    return Examples([f"utt-{i}" for i in range(len(units))], units, labels)


def _subset(examples: Examples, indices: list[int]) -> Examples:
    return Examples(
        [examples.utt_ids[i] for i in indices],
        [examples.units[i] for i in indices],
        [examples.labels[i] for i in indices],
    )
