"""Made-up tasks whose answers are sequences, with which a unit LM learns to be told to write.

A prompt that transcribes needs an LM that follows an utterance from left to right while it writes
something else. Each made-up task has an alphabet and an orthography of its own: units are clustered
together with their neighbours, clusters that are alike share a letter, some are silent, have two
letters or another letter, and some tasks leave most clusters out, as is done where slots are
filled. The answer to an utterance is its spelling. All of it comes from the units of the train
utterances alone: no label and no other split is read.

A task has rows and a separator behind the utterance, as a prompt of mode ``query`` has, and the two
tables of a learnable verbalizer that writes. They are trained along and thrown away at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechprompt.config.models import PretrainingTaskSettings
from speechprompt.lm.cache import Cache
from speechprompt.lm.dictionary import END, N_SPECIALS
from speechprompt.lm.model import LMConfig, UnitLM
from speechprompt.runtime.device import to_device
from speechprompt.units.information import pointwise_information, typical_units

__all__ = ["Dictation", "SequenceTasks", "Spelling", "find_windows", "make_up_spellings"]

# The clusters of a task, and what its alphabet may have.
N_CLUSTERS = 150
ALPHABETS = (16, 24, 32, 48)
# Shares of the clusters that have no letter, one more, or another one.
SILENT, LONGER, OTHER = 0.1, 0.1, 0.1
# The share of the tasks that leave clusters out, and of their clusters that are left out.
SOME_ONLY, LEFT_OUT = 0.3, 0.6
# A unit is described by so many numbers; clusters are those of so many of the commonest windows.
N_COMPONENTS = 24
MAX_WINDOWS = 20_000
# Standard deviation of the shifts at the start.
SHIFT = 0.1


@dataclass(frozen=True)
class Spelling:
    """How one made-up task spells.

    Attributes:
        letters: size of its alphabet, A.
        heard: (A,) for each letter the unit that is heard where it is written, each unit once.
        table: (windows, 2) the letters of every window, -1 for none.
    """

    letters: int
    heard: np.ndarray
    table: np.ndarray

    def answer(self, windows: np.ndarray) -> np.ndarray:
        """The letters of an utterance, given its windows; repeated letters are written once."""
        told = self.table[windows].ravel()
        told = told[told >= 0]
        return told[np.insert(told[1:] != told[:-1], 0, True)[: len(told)]]


def find_windows(units: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """The windows of three units around every unit of some utterances.

    Returns:
        The different windows (W, 3), with -1 beyond the ends of an utterance; the numbers of each
        utterance's windows; how often each window occurs (W,).
    """
    padded = [np.pad(row, 1, constant_values=-1) for row in units]
    every = np.concatenate([np.lib.stride_tricks.sliding_window_view(row, 3) for row in padded])
    windows, numbers, counts = np.unique(every, axis=0, return_inverse=True, return_counts=True)
    ends = np.cumsum([len(row) for row in units])
    return windows, np.split(numbers.ravel(), ends[:-1]), counts


def make_up_spellings(
    windows: np.ndarray, counts: np.ndarray, n_units: int, n_tasks: int, seed: int
) -> list[Spelling]:
    """Make up tasks.

    The same windows and seed give the same tasks for any number of threads, because only one is
    used here.

    Args:
        windows: (W, 3) units, -1 for none.
        counts: (W,) how often each window occurs.
        n_units: number of units, K.
        n_tasks: number of tasks.
        seed: seed of all that is drawn.
    """
    from threadpoolctl import threadpool_limits

    generator = np.random.default_rng(seed)
    with threadpool_limits(limits=1):
        described = _describe_units(windows, counts, n_units)
        return [_make_up(windows, counts, described, generator) for _ in range(n_tasks)]


def _describe_units(windows: np.ndarray, counts: np.ndarray, n_units: int) -> np.ndarray:
    """Describe units (K + 1, n) by their neighbours; the last row, for none, is zero.

    The numbers are the first singular vectors of the positive pointwise mutual information of units
    and the units before and behind them.
    """
    table = np.full((n_units, 2, n_units), 0.1)
    for side, column in enumerate((0, 2)):
        there = windows[:, column] >= 0
        np.add.at(table, (windows[there, 1], side, windows[there, column]), counts[there])
    information = pointwise_information(table.reshape(n_units, -1))
    left, sizes, _ = np.linalg.svd(np.maximum(information, 0.0), full_matrices=False)
    described = (left * np.sqrt(sizes))[:, :N_COMPONENTS]
    return np.pad(described, ((0, 1), (0, 0))).astype(np.float32)


def _make_up(
    windows: np.ndarray, counts: np.ndarray, described: np.ndarray, generator: np.random.Generator
) -> Spelling:
    """Make up one task."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    def seed() -> int:
        return int(generator.integers(2**32))

    near = generator.uniform(0.1, 1.0, (2, 1))  # how much the neighbours count
    weights = np.insert(near, 1, 1.0, axis=0).astype(np.float32)
    vectors = (described[windows] * weights).reshape(len(windows), -1)
    common = np.argsort(-counts, kind="stable")[:MAX_WINDOWS]
    n_clusters = min(N_CLUSTERS, len(common))
    fine = MiniBatchKMeans(n_clusters, batch_size=2048, n_init=1, max_iter=20, random_state=seed())
    fine.fit(vectors[common], sample_weight=counts[common].astype(np.float32))
    clusters = fine.predict(vectors)
    n_letters = min(int(generator.choice(ALPHABETS)), n_clusters, len(described) - 1)
    alike = KMeans(n_letters, n_init=1, random_state=seed()).fit_predict(fine.cluster_centers_)

    heard = np.full((n_letters, len(described) - 1), 0.1)
    np.add.at(heard, (alike[clusters], windows[:, 1]), counts)
    letters = np.stack((alike, np.full_like(alike, -1)), axis=1)
    change, other = generator.random(n_clusters), generator.integers(n_letters, size=n_clusters)
    letters[change < SILENT, 0] = -1
    longer = (change >= SILENT) & (change < SILENT + LONGER)
    letters[longer, 1] = other[longer]
    changed = (change >= SILENT + LONGER) & (change < SILENT + LONGER + OTHER)
    letters[changed, 0] = other[changed]
    if generator.random() < SOME_ONLY:
        letters[generator.random(n_clusters) < LEFT_OUT] = -1
    return Spelling(n_letters, typical_units(heard), letters[clusters])


class SequenceTasks(nn.Module):
    """Made-up tasks with sequences for answers, as they are trained.

    Args:
        config: shape of the unit LM.
        units: units of all utterances.
        train: indices of the utterances to learn from; no others are looked at.
        settings: number of the tasks, of their rows, and their weight.
        seed: seed of the tasks.
    """

    def __init__(
        self,
        config: LMConfig,
        units: Sequence[np.ndarray],
        train: np.ndarray,
        settings: PretrainingTaskSettings,
        seed: int,
    ) -> None:
        super().__init__()
        self.weight, self._most = settings.sequence_weight, config.max_positions
        windows, numbers, counts = find_windows([units[i] for i in train])
        self.windows = dict(zip(train.tolist(), numbers, strict=True))
        n_units = config.n_symbols - N_SPECIALS
        self.spellings = make_up_spellings(windows, counts, n_units, settings.sequences, seed)
        self.tasks = nn.ModuleList(
            _Task(config, spelling, settings.sequence_rows) for spelling in self.spellings
        )

    def draw(self, batch: Sequence[int], seed: int) -> Dictation:
        """Choose the task that a batch is asked."""
        chosen = int(np.random.default_rng(seed).integers(len(self.spellings)))
        task = cast("_Task", self.tasks[chosen])
        # An answer ends where the unit LM has no position left.
        room = self._most - 1 - len(task.rows)
        answers = {}
        for i in batch:
            windows = self.windows[i]
            answers[i] = self.spellings[chosen].answer(windows)[: max(0, room - len(windows))]
        return Dictation(task, answers, self.weight)


class Dictation:
    """The made-up task that a batch is asked to write.

    Args:
        task: the task.
        answers: letters of each utterance, by its index.
        weight: weight of the summed loss.
    """

    reads_once = True

    def __init__(self, task: _Task, answers: Mapping[int, np.ndarray], weight: float) -> None:
        self.task, self.answers, self.weight = task, answers, weight

    def room(self, utterance: int) -> int:
        """Number of tokens behind an utterance: rows, separator and letters."""
        return len(self.task.rows) + len(self.answers[utterance])

    def ask(
        self, model: UnitLM, cache: Cache, rows: Sequence[int], _: float
    ) -> tuple[Tensor, Tensor, int]:
        """Read the rows, the separator and the answers behind utterances that the cache holds.

        Args:
            model: the unit LM.
            cache: the utterances, with room for the longest answer.
            rows: which utterances these are.

        Returns:
            Weighted cross-entropy in nats, summed over letters and ends; number of correct ones;
            number of all.
        """
        task, answers = self.task, [self.answers[i] for i in rows]
        n_rows, width = len(task.rows), max(map(len, answers))
        told = np.full((len(rows), width + 1), task.end)
        asked = np.arange(width + 1) <= np.array([[len(answer)] for answer in answers])
        for line, answer in zip(told, answers, strict=True):
            line[: len(answer)] = answer
        tables = torch.from_numpy(np.stack((np.where(asked, told, -100), told)))
        targets, letters = to_device(tables, task.rows.device)
        embedded = task.inputs @ model.embed[N_SPECIALS:]
        # What stands behind an answer's end is not read by what counts.
        behind = F.embedding(letters[:, :-1].clamp(max=task.end - 1), embedded)
        x = torch.cat((task.rows.expand(len(rows), -1, -1), behind), dim=1)
        shifts = torch.cat((task.shifts, task.shifts[:, -1:].expand(-1, width, -1)), dim=1)
        hidden = model.extend(x, cache, shifts)[:, n_rows - 1 :].flatten(0, 1)
        scores = model.logits(hidden)
        scores = torch.cat((scores[:, N_SPECIALS:], scores[:, END, None]), dim=1) @ task.weight.T
        loss = F.cross_entropy(scores, targets.flatten(), reduction="sum")
        n_correct = (scores.detach().argmax(1) == targets.flatten()).sum()
        return self.weight * loss, n_correct, int(asked.sum())


class _Task(nn.Module):
    """What is trained for one made-up task.

    Parameters: ``rows`` (R + 1, D), the separator being the last, ``shifts`` (layers, R + 1, D),
    ``inputs`` (A, K), the units that are read for a letter, and ``weight`` (A + 1, K + 1), from the
    scores of units and ``</s>`` to those of letters and end.
    """

    def __init__(self, config: LMConfig, spelling: Spelling, n_rows: int) -> None:
        super().__init__()
        self.end = spelling.letters
        n_units = config.n_symbols - N_SPECIALS
        self.rows = nn.Parameter(torch.randn(n_rows + 1, config.dim) * config.dim**-0.5)
        self.shifts = nn.Parameter(torch.randn(config.layers, n_rows + 1, config.dim) * SHIFT)
        start = F.one_hot(torch.from_numpy(spelling.heard), n_units).float()
        self.inputs = nn.Parameter(start.clone())
        self.weight = nn.Parameter(torch.block_diag(start, torch.ones(1, 1)))
