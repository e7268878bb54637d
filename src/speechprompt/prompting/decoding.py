"""Decoding: answers to utterances, in batches, with a key/value cache.

In a classification, position i allows every label of column i, and the length is fixed; with one
column that is a single forward pass. A generation allows the verbalizer's units and the end.
``free`` decodes greedily over the whole vocabulary, as published, and says which results are not
valid answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechprompt.config.tasks import DecodingSettings
from speechprompt.errors import ConfigError, CorpusError
from speechprompt.lm.batching import micro_batches
from speechprompt.lm.dictionary import END
from speechprompt.lm.model import Cache, PromptTensors
from speechprompt.prompting.shared_batches import group_tasks, read_sources
from speechprompt.prompting.task_model import TaskModel

__all__ = ["GREEDY", "Predictions", "Question", "answer_room", "predict", "predict_together"]

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
    """

    task: TaskModel
    units: Sequence[np.ndarray]
    decoding: DecodingSettings = GREEDY
    utt_ids: Sequence[str] | None = None

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
        label_scores: (N, n_labels) log-probabilities for one label column, else None.
    """

    labels: list[list[int]]
    scores: np.ndarray
    valid: np.ndarray
    label_scores: np.ndarray | None = None


def predict(
    task: TaskModel,
    units: Sequence[np.ndarray],
    decoding: DecodingSettings = GREEDY,
    *,
    micro_tokens: int = 4096,
    utt_ids: Sequence[str] | None = None,
) -> Predictions:
    """Decode the utterances of one task; see :class:`Question` and :func:`predict_together`."""
    return predict_together([Question(task, units, decoding, utt_ids)], micro_tokens)[0]


def predict_together(questions: Sequence[Question], micro_tokens: int = 4096) -> list[Predictions]:
    """Decode the utterances of several tasks, those on one frozen LM in the same batches.

    The sources of a batch are read at once, each with its own prompt. Then each task finds its own
    answers, because they differ in form. The labels are those that a task finds alone; scores may
    differ in the last bits, as between any two batches.

    Args:
        questions: the tasks, each with its utterances.
        micro_tokens: tokens computed at once, padding included.

    Raises:
        ConfigError: ``free`` with a beam, or with a learnable verbalizer, whose labels are not
            units.
        CorpusError: an utterance leaves no room for an answer.
    """
    found: dict[int, Predictions] = {}
    for group in group_tasks([question.task for question in questions]):
        answered = _predict_group([questions[number] for number in group], micro_tokens)
        found.update(zip(group, answered, strict=True))
    return [found[number] for number in range(len(questions))]


@torch.no_grad()
def _predict_group(questions: Sequence[Question], micro_tokens: int) -> list[Predictions]:
    """Decode questions whose tasks may share batches."""
    found = [_Answers(question) for question in questions]
    tasks = [question.task for question in questions]
    rows = [(n, i) for n, question in enumerate(questions) for i in range(len(question.units))]
    units = [row for question in questions for row in question.units]
    limits = np.array([limit for question in questions for limit in question.limits()], int)
    lengths = [tasks[n].length(row) for (n, _), row in zip(rows, units, strict=True)]
    budget = max(1, micro_tokens // max(question.decoding.beam for question in questions))
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
        self.task, self.decoding = question.task, question.decoding
        n, allowed = len(question.units), self.task.allowed
        if self.decoding.free and (
            self.task.verbalizer.kind == "learnable" or self.decoding.beam > 1
        ):
            raise ConfigError(
                "decoding: free is greedy and over units; it has no beam or learnable"
            )
        self.task.model.eval()
        self.labels: list[list[int]] = [[] for _ in range(n)]
        self.scores = np.zeros(n)
        self.label_scores = None
        if allowed is not None and len(allowed) == 1 and not self.decoding.free:
            self.label_scores = np.zeros((n, len(self.task.label_ids)))

    def write(self, hidden: Tensor, cache: Cache | None, rows: list[int], steps: list[int]) -> None:
        """Find the answers to some utterances from the hidden states at their separators."""
        task, decoding = self.task, self.decoding
        if self.label_scores is not None:
            position = torch.zeros(len(rows), dtype=torch.long, device=hidden.device)
            table = task.answer_scores(hidden, position)
            best = table.max(1)
            self.label_scores[rows] = table[:, :-1].double().cpu().numpy()
            answers, found = [[i] for i in best.indices.tolist()], best.values.tolist()
        elif decoding.free:
            answers, found = _free(task, hidden, cache, steps, task.prompt_tensors())
        elif decoding.beam == 1:
            answers, found = _greedy(task, hidden, cache, steps)
        else:
            answers, found = _beam(task, hidden, cache, steps, decoding)
        for i, answer, score in zip(rows, answers, found, strict=True):
            self.labels[i], self.scores[i] = answer, score

    def done(self) -> Predictions:
        """All answers, once every batch was answered."""
        valid = np.array([_is_valid(answer, self.task.allowed) for answer in self.labels], bool)
        return Predictions(self.labels, self.scores, valid, self.label_scores)


def answer_room(task: TaskModel, units: np.ndarray, max_length: int) -> int:
    """The longest answer to an utterance, in labels; the last label needs no position of its own.

    Raises:
        CorpusError: the utterance leaves no room for an answer.
    """
    room = task.model.config.max_positions - len(units) - 1
    wanted = max_length if task.allowed is None else len(task.allowed)
    if room < (wanted if task.allowed is not None else 1):
        raise CorpusError(
            f"its {len(units)} units leave no room for an answer in the "
            f"{task.model.config.max_positions} positions of the unit LM; leave it out or use a "
            "unit LM with more positions"
        )
    return min(wanted, room)


def _greedy(
    task: TaskModel, hidden: Tensor, cache: Cache | None, steps: list[int]
) -> tuple[list[list[int]], list[float]]:
    """Take the best allowed label at every position, until the end is the best.

    There is no cache where every answer has at most one label.
    """
    limit = torch.tensor(steps, device=hidden.device)
    n, end = len(hidden), len(task.label_ids)
    ids = torch.from_numpy(task.label_ids).to(hidden.device)
    line = torch.arange(n, device=hidden.device)  # the utterances whose answers are not finished
    answers: list[list[int]] = [[] for _ in range(n)]
    scores = torch.zeros(n, dtype=torch.float64, device=hidden.device)
    for step in range(max(steps)):
        best = task.answer_scores(hidden, torch.full_like(line, step)).max(1)
        scores[line] += best.values
        for i, label in zip(line.tolist(), best.indices.tolist(), strict=True):
            if label != end:
                answers[i].append(label)
        going = ((best.indices != end) & (limit[line] > step + 1)).nonzero()[:, 0]
        if cache is None or not len(going):
            break
        if len(going) < len(line):
            line, cache = line[going], cache.select(going)
        hidden = task.model.step(ids[best.indices[going]], cache)
    return answers, scores.tolist()


def _free(
    task: TaskModel, hidden: Tensor, cache: Cache | None, steps: list[int], prompt: PromptTensors
) -> tuple[list[list[int]], list[float]]:
    """Take the best symbol of all, until it is ``</s>`` or the answer has its full length."""
    limit = torch.tensor(steps, device=hidden.device)
    label_of = {int(id_): label for label, id_ in enumerate(task.label_ids)}
    n = len(hidden)
    line = torch.arange(n, device=hidden.device)
    answers: list[list[int]] = [[] for _ in range(n)]
    scores = torch.zeros(n, dtype=torch.float64, device=hidden.device)
    for step in range(max(steps)):
        best = task.model.logits(hidden).log_softmax(1).max(1)
        scores[line] += best.values
        for i, id_ in zip(line.tolist(), best.indices.tolist(), strict=True):
            if id_ != END:
                answers[i].append(label_of.get(id_, -1))
        going = ((best.indices != END) & (limit[line] > step + 1)).nonzero()[:, 0]
        if cache is None or not len(going):
            break
        if len(going) < len(line):
            line, cache = line[going], cache.select(going)
        # The separator may be generated like any symbol; its embedding stays the trained one.
        hidden = task.model.step(best.indices[going], cache, prompt)
    return answers, scores.tolist()


def _beam(
    task: TaskModel,
    hidden: Tensor,
    cache: Cache | None,
    steps: list[int],
    decoding: DecodingSettings,
) -> tuple[list[list[int]], list[float]]:
    """Beam search: keep the best hypotheses of each utterance until enough are finished."""
    device, beam = hidden.device, decoding.beam
    n, end = len(hidden), len(task.label_ids)
    ids = torch.from_numpy(task.label_ids).to(device)
    fixed = task.allowed is not None
    # On the processor: with a GPU, every look at a hypothesis would wait for it.
    utterance = torch.arange(n)  # utterance of every live hypothesis, sorted
    prefixes: list[list[int]] = [[] for _ in range(n)]
    scores = torch.zeros(n, dtype=torch.float64)
    finished: list[list[tuple[float, float, list[int]]]] = [[] for _ in range(n)]
    for step in range(max(steps)):
        position = torch.full((len(hidden),), step, device=device)
        table = scores[:, None] + task.answer_scores(hidden, position).cpu()
        parents, chosen, kept = [], [], []
        for i in utterance.unique().tolist():
            rows = (utterance == i).nonzero()[:, 0]
            candidates = table[rows].flatten()
            order = candidates.argsort(descending=True, stable=True)[: 2 * beam].tolist()
            # Only the best candidates may finish; of the others the best go on.
            live = 0
            for rank, flat in enumerate(order):
                score, parent = float(candidates[flat]), int(rows[flat // (end + 1)])
                if score == float("-inf"):
                    break
                label = flat % (end + 1)
                answer = prefixes[parent] + ([] if label == end else [label])
                if label == end or step + 1 == steps[i]:
                    if rank < beam:
                        share = 1 if fixed else (step + 1) ** decoding.length_penalty
                        finished[i].append((score / share, score, answer))
                elif live < beam:
                    live += 1
                    parents.append(parent)
                    chosen.append(label)
                    kept.append((i, score, answer))
        # Where enough hypotheses are finished, the search ends.
        done = {i for i in range(n) if len(finished[i]) >= beam}
        rows = [r for r, (i, _, _) in enumerate(kept) if i not in done]
        if cache is None or not rows:
            break
        index = torch.tensor([parents[r] for r in rows], device=device)
        before, utterance = utterance, torch.tensor([kept[r][0] for r in rows])
        same = torch.equal(before, utterance)
        cache = cache.exchange(index) if same else cache.select(index)
        scores = torch.tensor([kept[r][1] for r in rows], dtype=torch.float64)
        prefixes = [kept[r][2] for r in rows]
        hidden = task.model.step(ids[[chosen[r] for r in rows]], cache)
    best = [max(of_one, key=lambda found: found[0]) for of_one in finished]
    return [answer for _, _, answer in best], [score for _, score, _ in best]


def _is_valid(answer: list[int], allowed: list[list[int]] | None) -> bool:
    if allowed is None:
        return -1 not in answer
    return len(answer) == len(allowed) and all(
        label in column for label, column in zip(answer, allowed, strict=True)
    )
