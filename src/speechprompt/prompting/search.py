"""Searches for the answers of one task: greedy, free and beam search, for a whole batch at once.

All hypotheses of a batch are rows of tensors, and finished ones are masked. Every few steps the
search asks the device which rows are not finished, and goes on with these only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from speechprompt.lm.cache import Cache
from speechprompt.lm.dictionary import END
from speechprompt.prompting.task_model import TaskModel
from speechprompt.prompting.writer import Writer

__all__ = ["Found", "search_beam", "search_free", "search_greedily"]

# A GPU is waited for at each look, and meanwhile computes rows that are finished.
STEPS_BETWEEN_LOOKS = {"cpu": 1}
STEPS_BETWEEN_LOOKS_ELSEWHERE = 8
INFINITY = float("inf")


@dataclass(frozen=True)
class Found:
    """Answers of N utterances.

    Attributes:
        labels: (N, T) label indices, -1 for a symbol that is no label; the first ``lengths`` count.
        lengths: (N,) labels of each answer.
        scores: (N,) log-probability of each answer, float64.
    """

    labels: Tensor
    lengths: Tensor
    scores: Tensor

    def to_lists(self) -> tuple[list[list[int]], list[float]]:
        """Answers as lists, read from the device at once."""
        rows = zip(self.labels.tolist(), self.lengths.tolist(), strict=True)
        return [row[:length] for row, length in rows], self.scores.tolist()


def search_greedily(task: TaskModel, hidden: Tensor, cache: Cache | None, limits: Tensor) -> Found:
    """Take the best allowed label at every position, until the end is the best.

    Args:
        task: the task.
        hidden: (N, D) hidden states at the separators.
        cache: of the sources; None where every answer has at most one label.
        limits: (N,) longest answer of each utterance, at least 1.
    """
    write, end = Writer(task), len(task.label_ids)

    def score(hidden: Tensor, step: int) -> Tensor:
        return task.answer_scores(hidden, _filled(len(hidden), step, hidden.device))

    def advance(labels: Tensor, cache: Cache) -> Tensor:
        return write(labels.clamp(max=end - 1), cache)

    return _take_best(hidden, cache, limits, end, score, advance)


def search_free(task: TaskModel, hidden: Tensor, cache: Cache | None, limits: Tensor) -> Found:
    """Take the best symbol of the whole vocabulary at every position, until ``</s>`` is the best.

    The separator is a symbol like any other here, and keeps its trained embedding.

    Args:
        task, hidden, cache, limits: see :func:`search_greedily`.
    """
    prompt = task.prompt_tensors()

    def score(hidden: Tensor, step: int) -> Tensor:
        return task.model.logits(hidden).log_softmax(1)

    def advance(symbols: Tensor, cache: Cache) -> Tensor:
        return task.model.step(symbols, cache, prompt)

    found = _take_best(hidden, cache, limits, END, score, advance)
    ids = torch.from_numpy(task.label_ids).to(hidden.device)
    label_of = torch.full((task.model.config.n_symbols,), -1, device=hidden.device)
    label_of[ids] = torch.arange(len(ids), device=hidden.device)
    return Found(label_of[found.labels], found.lengths, found.scores)


def search_beam(
    task: TaskModel,
    hidden: Tensor,
    cache: Cache | None,
    limits: Tensor,
    *,
    beam: int,
    length_penalty: float,
) -> Found:
    """Beam search; an utterance is finished with as many finished hypotheses as the beam is wide.

    Of the 2 x ``beam`` best continuations of an utterance's hypotheses, those that end are finished
    if they are among the ``beam`` best, and the ``beam`` best others go on. Where continuations
    have the same score, those of earlier hypotheses and lower labels come first.

    Args:
        task, hidden, cache, limits: see :func:`search_greedily`.
        beam: hypotheses kept of each utterance.
        length_penalty: finished hypotheses of a generation are ranked by their log-probability over
            (length + 1) to this power.
    """
    device, n = hidden.device, len(hidden)
    write, end, longest = Writer(task), len(task.label_ids), int(limits.max())
    best = _Finished.none(n, longest, end, device)
    utterance = torch.arange(n, device=device)  # (U,) those that are still searched
    prefixes = torch.full((n, 1, longest), end, device=device)  # (U, hypotheses, T)
    scores = torch.zeros(n, 1, dtype=torch.float64, device=device)  # (U, hypotheses)
    n_finished = torch.zeros(n, dtype=torch.long, device=device)  # (U,)
    for step in range(longest):
        table = task.answer_scores(hidden, _filled(len(hidden), step, device))
        table = scores[:, :, None] + table.view(*scores.shape, end + 1)
        ordered, order = table.flatten(1).sort(dim=1, descending=True, stable=True)
        ordered, order = ordered[:, : 2 * beam], order[:, : 2 * beam]
        parent, label = order // (end + 1), order % (end + 1)

        possible = ordered > -INFINITY
        ends = possible & ((label == end) | (limits[utterance, None] == step + 1))
        rank = torch.arange(ordered.shape[1], device=device)
        finished = ends & (rank < beam)
        share = 1.0 if task.allowed is not None else (step + 1) ** length_penalty
        # The first one is the best of this step, since candidates are in order.
        first = finished.int().argmax(1, keepdim=True)
        answers = _rows(prefixes, parent.gather(1, first))[:, 0]
        answers[:, step] = label.gather(1, first)[:, 0]
        score = torch.where(finished.any(1), ordered.gather(1, first)[:, 0], -INFINITY)
        best.improve(utterance, score / share, score, answers)
        n_finished += finished.sum(1)

        goes_on = possible & ~ends
        goes_on &= (goes_on.cumsum(1) <= beam) & (n_finished < beam)[:, None]
        kept = (~goes_on).int().sort(dim=1, stable=True).indices[:, :beam]
        scores = torch.where(goes_on, ordered, -INFINITY).gather(1, kept)
        parent, label = parent.gather(1, kept), label.gather(1, kept)
        rows = torch.arange(len(utterance), device=device)
        if step + 1 == longest or cache is None:
            break
        if _looks(step, device):
            rows = (scores[:, 0] > -INFINITY).nonzero()[:, 0]
            if not len(rows):
                break
            if not cache.shrinks(len(rows) * prefixes.shape[1]):
                rows = torch.arange(len(utterance), device=device)
        width, same = prefixes.shape[1], len(rows) == len(utterance)
        same &= width == kept.shape[1]
        utterance, scores, n_finished = utterance[rows], scores[rows], n_finished[rows]
        parent, label = parent[rows], label[rows]
        prefixes = _rows(prefixes[rows], parent)
        prefixes[:, :, step] = label
        source = (rows[:, None] * width + parent).flatten()
        cache = cache.exchange(source) if same else cache.select(source)
        hidden = write(label.clamp(max=end - 1).flatten(), cache)
    return Found(best.answers, (best.answers != end).sum(1), best.scores)


@dataclass
class _Finished:
    """The best finished hypothesis of each utterance: (N,) values and scores, (N, T) answers."""

    values: Tensor
    scores: Tensor
    answers: Tensor

    @classmethod
    def none(cls, n: int, longest: int, end: int, device: torch.device) -> _Finished:
        values = torch.full((n,), -INFINITY, dtype=torch.float64, device=device)
        return cls(values, values.clone(), torch.full((n, longest), end, device=device))

    def improve(self, rows: Tensor, values: Tensor, scores: Tensor, answers: Tensor) -> None:
        """Take what is better than before, of the utterances ``rows``."""
        better = values > self.values[rows]
        self.values[rows] = torch.where(better, values, self.values[rows])
        self.scores[rows] = torch.where(better, scores, self.scores[rows])
        self.answers[rows] = torch.where(better[:, None], answers, self.answers[rows])


def _take_best(
    hidden: Tensor,
    cache: Cache | None,
    limits: Tensor,
    end: int,
    score: Callable[[Tensor, int], Tensor],
    advance: Callable[[Tensor, Cache], Tensor],
) -> Found:
    """Take the best symbol at every position until it is ``end``, or an answer is long enough."""
    device, n, longest = hidden.device, len(hidden), int(limits.max())
    labels = torch.full((n, longest), end, device=device)
    scores = torch.zeros(n, dtype=torch.float64, device=device)
    row = torch.arange(n, device=device)  # the utterances in the batch
    going = torch.ones(n, dtype=torch.bool, device=device)  # those of them that are not finished
    for step in range(longest):
        best = score(hidden, step).max(1)
        scores[row] += torch.where(going, best.values, 0.0)
        chosen = torch.where(going, best.indices, end)
        labels[row, step] = chosen
        going = going & (chosen != end) & (limits[row] > step + 1)
        if step + 1 == longest or cache is None:
            break
        if _looks(step, device):
            kept = going.nonzero()[:, 0]
            if not len(kept):
                break
            if cache.shrinks(len(kept)):
                row, going, chosen, cache = row[kept], going[kept], chosen[kept], cache.select(kept)
        hidden = advance(chosen, cache)
    return Found(labels, (labels != end).sum(1), scores)


def _looks(step: int, device: torch.device) -> bool:
    every = STEPS_BETWEEN_LOOKS.get(device.type, STEPS_BETWEEN_LOOKS_ELSEWHERE)
    return (step + 1) % every == 0


def _filled(n: int, value: int, device: torch.device) -> Tensor:
    return torch.full((n,), value, device=device)


def _rows(prefixes: Tensor, parent: Tensor) -> Tensor:
    """Prefixes (U, H, T) of the parents (U, K): (U, K, T)."""
    return prefixes.gather(1, parent[:, :, None].expand(-1, -1, prefixes.shape[2]))
