"""Decoding: answers to utterances, in batches, with a key/value cache.

The searches, greedy and beam, are in :mod:`.search`. In a classification, the i-th label of an
answer is one of the i-th label column, so that all answers are equally long; with one column the
answer takes a single forward pass. Where the columns are scored apart, an answer is the best of the
combinations that the task knows. A generation allows the verbalizer's units and the end. With
``free`` the search is greedy over the whole vocabulary, as published, and some results are not
valid answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor

from speechprompt.config.tasks import DecodingSettings
from speechprompt.errors import ConfigError, CorpusError
from speechprompt.lm.batching import micro_batches, micro_budget
from speechprompt.lm.cache import Cache
from speechprompt.prompting.combinations import best_labels, is_answer
from speechprompt.prompting.search import Found, search_beam, search_free, search_greedily
from speechprompt.prompting.shared_batches import group_tasks, read_sources
from speechprompt.prompting.task_model import TaskModel

__all__ = [
    "GREEDY",
    "Predictions",
    "Question",
    "answer_room",
    "decoding_budget",
    "predict",
    "predict_together",
]

GREEDY = DecodingSettings()
"""The defaults: the best allowed label at every position."""


@dataclass(frozen=True)
class Question:
    """Utterances that one task is to answer.

    Attributes:
        task: unit LM, prompt and verbalizer.
        units: units 0..K-1 of every utterance.
        decoding: how answers are found.
        utt_ids: names of the utterances for messages; by default they are numbered.
        renditions: units of each utterance at other speeds. Where labels have scores, an answer is
            the best by the mean of the log-probabilities; otherwise they are not read.
    """

    task: TaskModel
    units: Sequence[np.ndarray]
    decoding: DecodingSettings = GREEDY
    utt_ids: Sequence[str] | None = None
    renditions: Sequence[Sequence[np.ndarray]] = ()

    @property
    def n_columns(self) -> int:
        """Columns of labels that have scores, because none depends on another; else 0."""
        allowed = self.task.allowed
        if allowed is None or self.decoding.free:
            return 0
        return len(allowed) if self.task.reads_at_once else int(len(allowed) == 1)

    @property
    def combinations(self) -> list[list[int]] | None:
        """The combinations of labels that an answer may be; None for all."""
        return None if self.decoding.combinations == "any" else self.task.combinations

    def limits(self) -> list[int]:
        """The longest answer to each utterance, in labels.

        Raises:
            CorpusError: an utterance leaves no room for an answer.
        """
        limits = []
        for i, row in enumerate(self.units):
            try:
                limits.append(answer_room(self.task, row, self.decoding.max_length))
            except CorpusError as error:
                name = i if self.utt_ids is None else self.utt_ids[i]
                raise CorpusError(f"utterance {name!r}: {error}") from None
        return limits


@dataclass(frozen=True)
class Predictions:
    """The best answer to each utterance, in their order.

    Attributes:
        labels: label indices of each answer; ``free`` has -1 for a symbol that is not a label.
        scores: log-probability of each answer among the allowed ones, float64.
        valid: whether each is a possible answer, which only ``free`` may miss.
        label_scores: (N, n_labels) log-probabilities of labels, each within its column, where the
            columns are scored apart; else None.
        combinations: the combinations of labels that an answer may be; None for all.
    """

    labels: list[list[int]]
    scores: np.ndarray
    valid: np.ndarray
    label_scores: np.ndarray | None = None
    combinations: list[list[int]] | None = None


def predict(
    task: TaskModel,
    units: Sequence[np.ndarray],
    decoding: DecodingSettings = GREEDY,
    *,
    micro_tokens: int | Literal["auto"] = "auto",
    utt_ids: Sequence[str] | None = None,
    renditions: Sequence[Sequence[np.ndarray]] = (),
) -> Predictions:
    """Decode the utterances of one task; see :class:`Question` and :func:`predict_together`."""
    question = Question(task, units, decoding, utt_ids, renditions)
    return predict_together([question], micro_tokens)[0]


def predict_together(
    questions: Sequence[Question], micro_tokens: int | Literal["auto"] = "auto"
) -> list[Predictions]:
    """Decode the utterances of several tasks, those on one frozen LM in the same batches.

    The sources of a batch are read at once, each with its own prompt. Then each task finds its own
    answers, because they differ in form. The labels are those that a task finds alone; scores may
    differ in the last bits, as between any two batches.

    Args:
        questions: the tasks, each with its utterances.
        micro_tokens: tokens computed at once, padding included; ``auto`` suits the device.

    Raises:
        ConfigError: ``free`` with a beam, or with a learnable verbalizer, whose labels are not
            units.
        CorpusError: an utterance leaves no room for an answer.
    """
    asked = [_Asked.by(question) for question in questions]
    found: dict[int, Predictions] = {}
    for group in group_tasks([question.task for question in questions]):
        answered = _predict_group([asked[number].question for number in group], micro_tokens)
        found.update(zip(group, answered, strict=True))
    return [each.answers(found[number]) for number, each in enumerate(asked)]


@dataclass(frozen=True)
class _Asked:
    """A question whose renditions are utterances as well.

    Attributes:
        question: the question with the renditions behind each utterance.
        firsts: row of each utterance itself; None where there are no renditions.
    """

    question: Question
    firsts: np.ndarray | None = None

    @classmethod
    def by(cls, question: Question) -> Self:
        """Have renditions read that leave room for an answer."""
        if not question.n_columns or not any(question.renditions):
            return cls(question)
        names = question.utt_ids or list(map(str, range(len(question.units))))
        units: list[np.ndarray] = []
        utt_ids: list[str] = []
        firsts = []
        for name, own, others in zip(names, question.units, question.renditions, strict=True):
            fitting = [row for row in others if _has_room(question, row)]
            firsts.append(len(units))
            units += [own, *fitting]
            utt_ids += [name] * (1 + len(fitting))
        spread = replace(question, units=units, utt_ids=utt_ids, renditions=())
        return cls(spread, np.array(firsts))

    def answers(self, found: Predictions) -> Predictions:
        """Answers by the mean over each utterance and its renditions, where labels have scores."""
        scores, columns = found.label_scores, self.question.task.allowed
        if scores is None or columns is None:
            return found
        valid = found.valid
        if self.firsts is not None:
            sizes = np.diff(self.firsts, append=len(scores))
            scores = np.add.reduceat(scores, self.firsts) / sizes[:, None]
            for column in columns:
                scores[:, column] = log_softmax(scores[:, column], axis=1)
            valid = valid[self.firsts]
        known = self.question.combinations
        labels, best = best_labels(scores, columns, known)
        return Predictions(labels.tolist(), best, valid, scores, known)


def _has_room(question: Question, units: np.ndarray) -> bool:
    try:
        answer_room(question.task, units, question.decoding.max_length)
    except CorpusError:
        return False
    return True


@torch.no_grad()
def _predict_group(
    questions: Sequence[Question], micro_tokens: int | Literal["auto"]
) -> list[Predictions]:
    """Decode questions whose tasks may share batches."""
    found = [_Answers(question) for question in questions]
    tasks = [question.task for question in questions]
    rows = [(n, i) for n, question in enumerate(questions) for i in range(len(question.units))]
    units = [row for question in questions for row in question.units]
    limits = np.array([limit for question in questions for limit in question.limits()], int)
    lengths = [tasks[n].length(row) for (n, _), row in zip(rows, units, strict=True)]
    budget = decoding_budget(tasks[0], int(limits.max(initial=1)), micro_tokens)
    budget = max(1, budget // max(question.decoding.beam for question in questions))
    for piece in micro_batches(lengths, range(len(rows)), budget):
        owners = np.array([rows[k][0] for k in piece])
        longest = int(limits[piece].max())
        cache = None if longest == 1 else Cache(room=longest)
        hidden = read_sources(tasks, owners.tolist(), [units[k] for k in piece], cache)
        for n in np.unique(owners).tolist():
            own = np.flatnonzero(owners == n)
            read = (hidden, cache)
            if len(own) < len(piece):
                index = torch.from_numpy(own).to(hidden.device)
                read = (hidden[index], cache and cache.select(index))
            mine = [piece[k] for k in own]
            found[n].write(*read, [rows[k][1] for k in mine], limits[mine].tolist())
    return [answers.done() for answers in found]


class _Answers:
    """The answers to one question, which fill up batch by batch."""

    def __init__(self, question: Question) -> None:
        self.question, self.task, self.decoding = question, question.task, question.decoding
        n = len(question.units)
        if self.decoding.free and (
            self.task.verbalizer.kind == "learnable" or self.decoding.beam > 1
        ):
            raise ConfigError(
                "decoding: free is greedy and over units; it has no beam or learnable"
            )
        self.task.model.eval()
        self.labels: list[list[int]] = [[] for _ in range(n)]
        self.scores = np.zeros(n)
        self.columns = question.n_columns  # of labels that need no step between them
        self.label_scores = np.zeros((n, len(self.task.label_ids) if self.columns else 0))

    def write(self, hidden: Tensor, cache: Cache | None, rows: list[int], steps: list[int]) -> None:
        """Find the answers to some utterances from the hidden states at their separators."""
        task = self.task
        if self.columns:
            position = torch.zeros(len(rows), dtype=torch.long, device=hidden.device)
            tables = [task.answer_scores(hidden, position + i) for i in range(self.columns)]
            # A label has minus infinity in all columns but its own.
            own = torch.stack(tables).amax(dim=0)[:, :-1]
            self.label_scores[rows] = own.double().cpu().numpy()
            return
        limits = torch.tensor(steps, device=hidden.device)
        answers, found = _search(self.question, hidden, cache, limits).to_lists()
        for i, answer, score in zip(rows, answers, found, strict=True):
            self.labels[i], self.scores[i] = answer, score

    def done(self) -> Predictions:
        """All answers, once every batch was answered."""
        if self.columns:  # the answers follow from the labels' scores, over all renditions
            all_valid = np.ones(len(self.labels), bool)
            return Predictions(self.labels, self.scores, all_valid, self.label_scores)
        valid = np.array([_is_valid(answer, self.task.allowed) for answer in self.labels], bool)
        return Predictions(self.labels, self.scores, valid)


def decoding_budget(task: TaskModel, longest: int, asked: int | Literal["auto"] = "auto") -> int:
    """The tokens computed at once, if they are not given, for answers of up to ``longest`` labels.

    A decoding step reads all weights: it takes nearly as long for few utterances as for many.
    """
    token_bytes = task.model.config.cache_bytes(task.dtype)
    on_processor = 4096 if longest == 1 else 8192
    return micro_budget(asked, token_bytes, task.device, on_processor)


def answer_room(task: TaskModel, units: np.ndarray, max_length: int) -> int:
    """The longest answer to an utterance, in labels; the last label needs no position of its own.

    Raises:
        CorpusError: the utterance leaves no room for an answer.
    """
    room = task.model.config.max_positions - task.n_positions(units, ()) + 1
    wanted = max_length if task.allowed is None else len(task.allowed)
    if task.reads_at_once:
        wanted = 1
    if room < (wanted if task.allowed is not None else 1):
        raise CorpusError(
            f"its {len(units)} units leave no room for an answer in the "
            f"{task.model.config.max_positions} positions of the unit LM; leave it out or use a "
            "unit LM with more positions"
        )
    return min(wanted, room)


def _search(question: Question, hidden: Tensor, cache: Cache | None, limits: Tensor) -> Found:
    """Find the answers to some of the utterances, in the way that the question asks for."""
    task, decoding = question.task, question.decoding
    if decoding.free:
        return search_free(task, hidden, cache, limits)
    if decoding.beam == 1:
        return search_greedily(task, hidden, cache, limits)
    return search_beam(
        task,
        hidden,
        cache,
        limits,
        beam=decoding.beam,
        length_penalty=decoding.length_penalty,
    )


def _is_valid(answer: list[int], allowed: list[list[int]] | None) -> bool:
    return -1 not in answer if allowed is None else is_answer(answer, allowed)
