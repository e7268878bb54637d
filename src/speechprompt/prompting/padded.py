"""How a GPU computes the loss of a task, and reads utterances: in padded lines, replayed as graphs.

The numbers are those of :class:`TaskModel`, up to rounding. Lines and batches are filled up to
:func:`~speechprompt.lm.lines.rounded` sizes, so that few different shapes occur in a training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from speechprompt.lm.cache import Cache
from speechprompt.lm.lines import pack_lines, rounded
from speechprompt.lm.prompt_tensors import PromptTensors
from speechprompt.prompting.loss import TeacherForcingLoss
from speechprompt.runtime.replay import Replay

if TYPE_CHECKING:
    from speechprompt.prompting.task_model import TaskModel

__all__ = ["Padded"]

# What a prompt's tensors may be, in the order in which they are passed on.
_NAMES = ("separator", "rows", "keys", "values", "shifts", "label_shifts")


class Padded:
    """A task on a GPU.

    Args:
        task: the task; its prompt has deep rows in every layer, or query rows.
    """

    def __init__(self, task: TaskModel) -> None:
        assert task.prompt is not None
        self.task, self.prompt = task, task.prompt
        self._longest = task.model.config.max_positions
        self._verbalizer = list(task.verbalizer.parameters())
        self._names = [name for name in _NAMES if getattr(task.prompt_tensors(), name) is not None]
        self._trainings = Replay(self._loss_with_gradients, task.device)
        self._losses = Replay(self._loss, task.device)
        self._sources = Replay(self._source, task.device)

    def loss(
        self, units: Sequence[np.ndarray], labels: Sequence[Sequence[int]], prompt: PromptTensors
    ) -> TeacherForcingLoss:
        """The loss of the answers to utterances; see :meth:`TaskModel.loss`."""
        tables, n_targets = self.tables(units, labels)
        given = self._given(prompt)
        if torch.is_grad_enabled():
            total, right = _Loss.apply(
                self._trainings, tables, len(given), *given, *self._verbalizer
            )
        else:
            total, right = self._losses(tables, given)
        return TeacherForcingLoss(total, n_targets, right[: len(units)])

    def tables(
        self, units: Sequence[np.ndarray], labels: Sequence[Sequence[int]]
    ) -> tuple[dict[str, np.ndarray], int]:
        """What the host prepares of a batch for its loss, and the number of predicted tokens."""
        targets, judged, counts = self.task.targets(labels)
        n, width = rounded(len(units)), int(counts.max())
        if self.task.reads_at_once:
            tables = self._tables(units, n)
        else:
            width = 1 << (width - 1).bit_length()
            tables = self._tables(units, n, labels, width - 1)
        tables["targets"] = _fill(targets, counts, n, width, -100)
        tables["judged"] = _fill(judged, counts, n, width, -100)
        return tables, len(targets)

    def sources(
        self, units: Sequence[np.ndarray], prompt: PromptTensors, cache: Cache | None = None
    ) -> Tensor:
        """Hidden states at the separators (B, D), or all that a verbalizer reads (B, R, D).

        Args:
            units: units of each utterance.
            prompt: the prompt.
            cache: an empty cache, which is filled with what decoding needs; the batch is not
                filled up then.
        """
        if cache is None:
            (hidden,) = self._sources(self._tables(units, rounded(len(units))), self._given(prompt))
            return hidden[: len(units)]
        tables = self._tables(units, len(units), recurs=False)
        sent = {name: torch.from_numpy(t).to(self.task.device) for name, t in tables.items()}
        hidden = self._read(sent, prompt, cache)
        return hidden if self.task.reads_at_once else hidden[:, 0]

    def _given(self, prompt: PromptTensors) -> list[Tensor]:
        return [getattr(prompt, name) for name in self._names]

    def _tables(
        self,
        units: Sequence[np.ndarray],
        n: int,
        labels: Sequence[Sequence[int]] = (),
        n_labels: int = 0,
        recurs: bool = True,
    ) -> dict[str, np.ndarray]:
        """What is read: n lines of tokens, with answers of up to ``n_labels``.

        Lines are filled up if their form is to recur.
        """
        query = self.prompt.mode == "query"
        if labels and not self.task.end_loss:
            labels = [row[:-1] for row in labels]
        slots, lengths, separators = self.task.slots(units, () if query else labels)
        slots = slots[:, self.prompt.n_slots :]
        lengths, separators = lengths - self.prompt.n_slots, separators - self.prompt.n_slots
        width = max(slots.shape[1], min(self._longest, rounded(slots.shape[1]) if recurs else 0))
        tokens = np.zeros((n, width), np.int64)
        tokens[: len(slots), : slots.shape[1]] = slots
        unused = n - len(units)  # lines
        counts = np.fromiter(map(len, labels or [()] * len(units)), np.int64, len(units))
        answers = np.concatenate(labels).astype(np.int64) if labels else np.empty(0, np.int64)
        return {
            "tokens": tokens,
            # The separator comes behind query rows.
            "lengths": np.pad(separators if query else lengths, (0, unused), constant_values=1),
            "separators": np.pad(separators, (0, unused)),
            "answers": _fill(answers, counts, n, n_labels),
        }

    def _loss_with_gradients(
        self, tables: Mapping[str, Tensor], given: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        given = [tensor.detach().requires_grad_() for tensor in given]
        with torch.enable_grad(), _leaves_of(self.task.verbalizer) as trained:
            total, right = self._loss(tables, given)
        leaves = (*given, *trained)
        gradients = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        return (total.detach(), right, *gradients)

    def _loss(self, tables: Mapping[str, Tensor], given: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        hidden = self._read(tables, self._prompt(given))
        judged = tables["judged"]
        if not self.task.reads_at_once:
            hidden = hidden.flatten(0, 1)
        place = torch.arange(judged.shape[1], device=judged.device).repeat(len(judged))
        total, wrong = self.task.score(hidden, tables["targets"].flatten(), judged.flatten(), place)
        return total, ~wrong.view(judged.shape).any(dim=1)

    @torch.no_grad()
    def _source(self, tables: Mapping[str, Tensor], given: Sequence[Tensor]) -> tuple[Tensor]:
        hidden = self._read(tables, self._prompt(given))
        return (hidden if self.task.reads_at_once else hidden[:, 0],)

    def _prompt(self, given: Sequence[Tensor]) -> PromptTensors:
        named: dict[str, Any] = dict(zip(self._names, given, strict=True))
        return replace(PromptTensors(layers=self.prompt.layers), **named)

    def _read(
        self, tables: Mapping[str, Tensor], prompt: PromptTensors, cache: Cache | None = None
    ) -> Tensor:
        """Hidden states (B, W, D) at the separators and behind the tokens of the answers.

        A verbalizer that reads all labels at once gets those of the query rows, too.
        """
        tokens, lengths = tables["tokens"], tables["lengths"]
        separators, answers = tables["separators"], tables["answers"]
        model, dtype = self.task.model, self.task.dtype
        if prompt.shifts is None:
            n_wanted = 1 + answers.shape[1]
            wanted = separators[:, None] + torch.arange(n_wanted, device=tokens.device)
            wanted = wanted.clamp(max=tokens.shape[1] - 1)
            packed = pack_lines(tokens, lengths, wanted, self.prompt.n_slots, separators, dtype)
            return model(packed, prompt, cache).view(*wanted.shape, -1)
        cache = cache or Cache(room=0)
        cache.room += prompt.n_behind + answers.shape[1]
        wanted = lengths[:, None] - 1
        packed = pack_lines(tokens, lengths, wanted, self.prompt.n_slots, separators, dtype)
        self.task.read_source(packed, prompt, cache)
        hidden = self.task.read_behind(answers, prompt, cache)
        return hidden if self.task.reads_at_once else hidden[:, self.prompt.length :]


class _Loss(torch.autograd.Function):
    """A loss whose gradients are computed with it."""

    @staticmethod
    def forward(
        ctx: Any, compute: Replay, tables: Any, n_given: int, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        total, right, *gradients = compute(tables, tensors[:n_given])
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    def backward(ctx: Any, share: Tensor, _: Any) -> tuple[Any, ...]:
        return (None, None, None, *(gradient * share for gradient in ctx.saved_tensors))


@contextmanager
def _leaves_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Within it a module computes with other leaves that have the memory of its parameters.

    The gradient of a parameter itself may wait for streams that a graph knows nothing of.
    """
    parameters = module._parameters
    leaves: Any = {
        name: p.detach().requires_grad_() for name, p in module.named_parameters(recurse=False)
    }
    module._parameters = leaves
    try:
        yield list(leaves.values())
    finally:
        module._parameters = parameters


def _fill(
    values: np.ndarray, counts: np.ndarray, n: int, width: int, filler: int = 0
) -> np.ndarray:
    """A table (n, width) whose first rows have so many of the values each."""
    table = np.full((n, width), filler, np.int64)
    table[: len(counts)][np.arange(width) < counts[:, None]] = values
    return table
