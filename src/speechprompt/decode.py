"""Decoding: answers to utterances, batched, with a key/value cache.

Classification: position i allows every label of column i, and the length is fixed; with one column
that is a single forward pass. Generation allows the verbalizer's units and the end. ``free``
decodes greedily over the whole vocabulary as published, and counts what is no valid answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechprompt.errors import ConfigError, CorpusError
from speechprompt.lm.dictionary import END
from speechprompt.lm.model import Cache, PromptTensors
from speechprompt.lm.packing import micro_batches
from speechprompt.task_model import TaskModel

__all__ = ["Predictions", "predict"]


@dataclass(frozen=True)
class Predictions:
    """Answers in the order of the utterances.

    Attributes:
        labels: label indices of each answer; -1 for a symbol that is no label (``free`` only).
        scores: log-probability of each answer among what was allowed, float64.
        valid: whether each is a possible answer; false only with ``free``.
        label_scores: (N, n_labels) log-probabilities for one label column, else None.
    """

    labels: list[list[int]]
    scores: np.ndarray
    valid: np.ndarray
    label_scores: np.ndarray | None = None


@torch.no_grad()
def predict(
    task: TaskModel,
    units: Sequence[np.ndarray],
    *,
    beam: int = 1,
    free: bool = False,
    max_length: int = 400,
    length_penalty: float = 1.0,
    micro_tokens: int = 4096,
    utt_ids: Sequence[str] | None = None,
) -> Predictions:
    """Decode utterances.

    Args:
        task: LM, prompt and verbalizer.
        units: units 0..K-1 of every utterance.
        beam: hypotheses kept; 1 is greedy.
        free: greedy over the whole vocabulary instead of what the task allows.
        max_length: longest answer of a generation, not counting the source; an answer also ends
            where the unit LM has no positions left.
        length_penalty: a finished hypothesis of a generation is ranked by its log-probability over
            (length + 1) to this power.
        micro_tokens: padded tokens computed at once.
        utt_ids: names of the utterances, for messages; their numbers by default.

    Raises:
        ConfigError: ``free`` with a learnable verbalizer, whose labels are no units, or with beams.
        CorpusError: an utterance leaves no room for an answer.
    """
    if free and (task.verbalizer.kind == "learnable" or beam > 1):
        raise ConfigError("decoding: free is greedy and over units; it has no beam or learnable")
    task.model.eval()
    lengths = [task.length(row) for row in units]
    columns = None if task.allowed is None else len(task.allowed)
    names = range(len(units)) if utt_ids is None else utt_ids
    limits = [
        _limit(task, row, columns or max_length, name)
        for row, name in zip(units, names, strict=True)
    ]
    labels: list[list[int]] = [[] for _ in units]
    scores = np.zeros(len(units))
    single = columns == 1 and not free
    label_scores = np.zeros((len(units), len(task.label_ids))) if single else None
    prompt = task.prompt_tensors()
    for piece in micro_batches(lengths, range(len(units)), max(1, micro_tokens // beam)):
        packed = task.pack([units[i] for i in piece])
        steps = [limits[i] for i in piece]
        cache = None if max(steps) == 1 else Cache(room=max(steps))
        hidden = task.model(packed, prompt, cache)[packed.wanted_query[:, 0]]
        if single:
            table = task.answer_scores(hidden, torch.zeros_like(packed.wanted_query[:, 0]))
            best = table.max(1)
            label_scores[piece] = table[:, :-1].double().cpu().numpy()
            answers, found = [[i] for i in best.indices.tolist()], best.values.tolist()
        elif free:
            answers, found = _free(task, hidden, cache, steps, prompt)
        elif beam == 1:
            answers, found = _greedy(task, hidden, cache, steps)
        else:
            answers, found = _beam(task, hidden, cache, steps, beam, length_penalty)
        for i, answer, score in zip(piece, answers, found, strict=True):
            labels[i], scores[i] = answer, score
    valid = np.array([_is_valid(answer, task.allowed) for answer in labels], bool)
    return Predictions(labels, scores, valid, label_scores)


def _limit(task: TaskModel, units: np.ndarray, wanted: int, name: str | int) -> int:
    """Longest answer to an utterance: the last label needs no position of its own."""
    room = task.model.config.max_positions - len(units) - 1
    if room < (wanted if task.allowed is not None else 1):
        raise CorpusError(
            f"utterance {name!r}: its {len(units)} units leave no room for an answer in the "
            f"{task.model.config.max_positions} positions of the unit LM; leave it out or use a "
            "unit LM with more positions"
        )
    return min(wanted, room)


def _greedy(
    task: TaskModel, hidden: Tensor, cache: Cache, steps: list[int]
) -> tuple[list[list[int]], list[float]]:
    """The best allowed label at every position, until the end where answers may end."""
    limit = torch.tensor(steps, device=hidden.device)
    n, end = len(hidden), len(task.label_ids)
    ids = torch.from_numpy(task.label_ids).to(hidden.device)
    line = torch.arange(n, device=hidden.device)  # utterances that go on
    answers: list[list[int]] = [[] for _ in range(n)]
    scores = torch.zeros(n, dtype=torch.float64, device=hidden.device)
    for step in range(max(steps)):
        best = task.answer_scores(hidden, torch.full_like(line, step)).max(1)
        scores[line] += best.values
        for i, label in zip(line.tolist(), best.indices.tolist(), strict=True):
            if label != end:
                answers[i].append(label)
        going = ((best.indices != end) & (limit[line] > step + 1)).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(line):
            line, cache = line[going], cache.select(going)
        hidden = task.model.step(ids[best.indices[going]], cache)
    return answers, scores.tolist()


def _free(
    task: TaskModel, hidden: Tensor, cache: Cache | None, steps: list[int], prompt: PromptTensors
) -> tuple[list[list[int]], list[float]]:
    """Greedy over the whole vocabulary until ``</s>`` or as many symbols as an answer has."""
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
        if not len(going):
            break
        if len(going) < len(line):
            line, cache = line[going], cache.select(going)
        # The separator is a symbol like any other here, and stays the trained one.
        hidden = task.model.step(best.indices[going], cache, prompt)
    return answers, scores.tolist()


def _beam(
    task: TaskModel,
    hidden: Tensor,
    cache: Cache,
    steps: list[int],
    beam: int,
    length_penalty: float,
) -> tuple[list[list[int]], list[float]]:
    """Beam search; hypotheses of one utterance share its finished list."""
    device = hidden.device
    n, end = len(hidden), len(task.label_ids)
    ids = torch.from_numpy(task.label_ids).to(device)
    fixed = task.allowed is not None
    # Hypotheses are sorted out on the processor: a GPU would be waited for at each of them.
    utterance = torch.arange(n)  # of every live hypothesis, sorted
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
            # As many finished candidates among the best as the beam is wide: nothing follows.
            live = 0
            for rank, flat in enumerate(order):
                score, parent = float(candidates[flat]), int(rows[flat // (end + 1)])
                if score == float("-inf"):
                    break
                label = flat % (end + 1)
                answer = prefixes[parent] + ([] if label == end else [label])
                if label == end or step + 1 == steps[i]:
                    if rank < beam:
                        share = 1 if fixed else (step + 1) ** length_penalty
                        finished[i].append((score / share, score, answer))
                elif live < beam:
                    live += 1
                    parents.append(parent)
                    chosen.append(label)
                    kept.append((i, score, answer))
        done = {i for i in range(n) if len(finished[i]) >= beam}
        rows = [r for r, (i, _, _) in enumerate(kept) if i not in done]
        if not rows:
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
