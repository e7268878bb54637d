"""Verbalizers: which unit stands for which label.

``frequency`` is the paper's (arXiv 2203.16773, section 3.2): the i-th most frequent label is
written as the i-th most frequent unit of the training data. ``random`` and ``learnable`` are
SpeechPrompt v2's (arXiv 2303.00733): a seeded draw, and a bias-free linear layer from the scores
of all units to the scores of the labels. With several label columns, the layer gives the labels of
all columns at once; with query rows, it reads the scores at every row and at the separator. Where
answers are written label by label, there are two tables: from the scores of all units and the end
to those of the labels and the end, and from a label to the mixture of units that is read for it.
``aligned`` writes a label as a unit that is heard where the label is said, which is easy for a unit
LM that has learnt to repeat what it heard.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from speechprompt.config.tasks import VerbalizerKind
from speechprompt.errors import ConfigError
from speechprompt.units.information import typical_units

__all__ = ["Verbalizer", "build_verbalizer"]


class Verbalizer(nn.Module):
    """The units of the labels, and for ``learnable`` the trained layer on top.

    Args:
        kind: frequency, random, learnable or aligned.
        units: unit 0..K-1 of every label index; a learnable layer starts from them.
        n_units: number of units, K.
        rows: number of places R whose unit scores a learnable layer reads; at the start it reads
            the last.
        writes: whether a learnable verbalizer is for answers that are written label by label.
        members: members M of the prompt, each with a layer of its own.
    """

    index: Tensor

    def __init__(
        self,
        kind: VerbalizerKind,
        units: Sequence[int],
        n_units: int,
        rows: int = 1,
        writes: bool = False,
        members: int = 1,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.units = [int(unit) for unit in units]
        self.rows, self.writes, self.members = rows, writes, members
        self.register_buffer("index", torch.tensor(self.units, dtype=torch.long), persistent=False)
        if kind != "learnable":
            return
        start = nn.functional.one_hot(torch.tensor(self.units), n_units).float()
        if writes:
            self.inputs = nn.Parameter(start.clone())
            self.weight = nn.Parameter(torch.block_diag(start, torch.ones(1, 1)))
        else:
            start = nn.functional.pad(start, ((rows - 1) * n_units, 0))
            self.weight = nn.Parameter(start.repeat(members, 1, 1) if members > 1 else start)

    def written_scores(self, scores: Tensor) -> Tensor:
        """Scores (N, n_labels + 1) of labels and end from those (N, K + 1) of units and end."""
        return scores @ self.weight.T

    def label_scores(self, unit_scores: Tensor) -> Tensor:
        """Scores (N, n_labels) of the labels from those of the units, (N, K) or (N, R, K).

        With several members they are (N, M, n_labels), from (N, M * R, K).
        """
        if self.members > 1:
            by_member = unit_scores.reshape(len(unit_scores), self.members, -1)
            return torch.einsum("nmk,mlk->nml", by_member, self.weight)
        if self.kind == "learnable":
            return unit_scores.flatten(1) @ self.weight.T
        return unit_scores.index_select(-1, self.index)


def build_verbalizer(
    kind: VerbalizerKind,
    labels: Sequence[Sequence[int]],
    units: Sequence[np.ndarray],
    *,
    n_labels: int,
    n_units: int,
    seed: int,
    rows: int = 1,
    writes: bool = False,
    members: int = 1,
) -> Verbalizer:
    """Build the verbalizer of a task from its training data.

    Args:
        kind: frequency, random, learnable or aligned.
        labels: label indices of every training utterance.
        units: units of every training utterance.
        n_labels: number of label indices.
        n_units: number of units, K.
        seed: seed of the draw for ``random``.
        rows: number of places that a learnable layer reads.
        writes: whether answers are written label by label; a learnable verbalizer then starts from
            the aligned units.
        members: members of the prompt.

    Raises:
        ConfigError: more labels than units, unless the kind is ``learnable``.
    """
    if n_labels > n_units:
        if kind == "learnable":
            chosen = [i % n_units for i in range(n_labels)]
            return Verbalizer(kind, chosen, n_units, rows, writes, members)
        raise ConfigError(
            f"verbalizer: {n_labels} labels need as many units, but the codebook has "
            f"{n_units}; use a larger codebook, fewer or merged labels, or "
            "`verbalizer: learnable`"
        )
    if kind == "random":
        return Verbalizer(kind, random_units(n_labels, n_units, seed), n_units)
    by_data = aligned_units if kind == "aligned" or writes else frequency_units
    chosen = by_data(labels, units, n_labels, n_units)
    return Verbalizer(kind, chosen, n_units, rows, writes, members)


def frequency_units(
    labels: Iterable[Sequence[int]], units: Iterable[np.ndarray], n_labels: int, n_units: int
) -> list[int]:
    """The unit of every label: the one of the same rank in frequency.

    Of equally frequent ones the first to occur, utterance by utterance, comes first. Labels and
    units that never occur come last, in the order of their index.
    """
    unit_ranks = _ranked((unit for row in units for unit in np.asarray(row).tolist()), n_units)
    label_ranks = _ranked((label for row in labels for label in row), n_labels)
    mapping = dict(zip(label_ranks, unit_ranks, strict=False))
    return [mapping[label] for label in range(n_labels)]


def random_units(n_labels: int, n_units: int, seed: int) -> list[int]:
    """Distinct units for the labels, drawn with a seed."""
    return np.random.default_rng(seed).permutation(n_units)[:n_labels].tolist()


def aligned_units(
    labels: Iterable[Sequence[int]], units: Iterable[np.ndarray], n_labels: int, n_units: int
) -> list[int]:
    """Distinct units for the labels, chosen for the mutual information of units and labels.

    The j-th of m labels is taken to be said in the j-th of m equal parts of the utterance and one
    unit around it. Labels that never occur get the remaining units.
    """
    counts = np.full((n_labels, n_units), 0.1)
    for said, heard in zip(labels, units, strict=True):
        edges = np.linspace(0, len(heard), len(said) + 1)
        for label, start, end in zip(said, edges, edges[1:], strict=False):
            part = heard[max(0, int(start) - 1) : int(np.ceil(end)) + 1]
            np.add.at(counts[label], part, 1)
    return typical_units(counts).tolist()


def _ranked(occurrences: Iterable[int], size: int) -> list[int]:
    found = [value for value, _ in Counter(occurrences).most_common()]
    return found + [value for value in range(size) if value not in set(found)]
