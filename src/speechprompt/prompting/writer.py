"""Reading the labels of an answer one by one, as decoding writes them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from speechprompt.lm.cache import Cache
from speechprompt.prompting.task_model import TaskModel
from speechprompt.runtime.replay import ReplayedStep, replays

__all__ = ["Writer"]


class Writer:
    """Reads one label more behind every cached sequence.

    On a GPU the steps with one cache are replayed.

    Args:
        task: the task, whose labels are read.
    """

    def __init__(self, task: TaskModel) -> None:
        self._model = task.model
        prompt = task.prompt_tensors()
        self._shifts = prompt.shifts_behind
        self._by_label = prompt.label_shifts is not None
        self._embeddings = task.label_embeddings()
        self._replayed = replays(task.device)
        self._cache: Cache | None = None

    def __call__(self, labels: Tensor, cache: Cache) -> Tensor:
        """Hidden states (B, D) behind the labels (B,), until the next call."""
        if not self._replayed:
            return self._read(labels, cache)
        if cache is not self._cache:
            cache.fix()
            self._cache = cache
            self._step = ReplayedStep(lambda given: self._read(given, cache))
        cache.used += 1
        return self._step(labels)

    def _read(self, labels: Tensor, cache: Cache) -> Tensor:
        x = F.embedding(labels, self._embeddings)
        shift_of = labels[:, None] if self._by_label else None
        return self._model.extend(x[:, None], cache, self._shifts, shift_of=shift_of)[:, 0]
