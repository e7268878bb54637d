"""This package: task model, training losses and decoding as the pipeline calls them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.contender import DROPOUT, Update
from benchmarks.data import Workload
from benchmarks.operations import (
    Tree,
    decoding_operations,
    forward_operations,
    training_operations,
)
from speechprompt.config.tasks import PromptSettings
from speechprompt.lm import load_lm
from speechprompt.lm.batching import micro_batches, micro_budget
from speechprompt.prompting.decoding import decoding_budget, predict
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.runtime.device import make_deterministic
from speechprompt.runtime.precision import Precision, resolve_precision
from speechprompt.tasks.examples import Examples
from speechprompt.tasks.verbalizer import Verbalizer

__all__ = ["Ours"]


class Ours:
    """Deep prompt rows in every layer, the frequency verbalizer, the defaults of training.

    Args:
        lm_path: unit LM file.
        workload: the utterances, which decide labels and prompt length.
        precision: fp32 or bf16.
        device: cpu or cuda.
    """

    def __init__(
        self, lm_path: str | Path, workload: Workload, precision: Precision, device: str = "cpu"
    ) -> None:
        make_deterministic(device)
        dtype = resolve_precision(precision, device)
        lm = load_lm(lm_path, dtype=dtype, device=device)
        prompt = Prompt(
            lm.model.config,
            PromptSettings(length=workload.prompt_length, dropout=DROPOUT),
            torch.Generator().manual_seed(1),
        )
        verbalizer = Verbalizer("frequency", range(workload.n_labels), lm.dictionary.n_units)
        self.config, self.prompt_length = lm.model.config, workload.prompt_length
        self.task = TaskModel(lm, prompt, verbalizer, [range(workload.n_labels)], dtype=dtype)
        self.optimiser = Update(list(self.task.named_parameters().values()))
        self.updates = 0
        self.answering: dict[int, TaskModel] = {}
        self.training_tokens = micro_budget("auto", self.config.activation_bytes(dtype), device)
        self.inference_tokens = decoding_budget(self.task, workload.answer)

    def training_batches(self, workload: Workload, size: int) -> list[Examples]:
        return workload.batches(size)

    def inference_batches(self, workload: Workload, size: int) -> list[Examples]:
        return workload.batches(size)

    def update(self, batch: Examples) -> float:
        self.optimiser.start()
        totals, n_tokens = [], 0
        for piece in self._pieces(batch, self.training_tokens):
            loss = self.task.loss(
                [batch.units[i] for i in piece],
                [batch.labels[i] for i in piece],
                self.task.prompt_tensors(self.updates),
            )
            loss.total.backward()
            totals.append(loss.total.detach())
            n_tokens += loss.n_tokens
        self.optimiser.finish(n_tokens)
        self.updates += 1
        return float(sum(totals)) / n_tokens  # the sum is read from the device once

    def infer(self, batch: Examples, answer: int) -> float:
        predict(self._answering(answer), batch.units, micro_tokens=self.inference_tokens)
        return 1.0

    def update_operations(self, batch: Examples) -> int:
        """Operations that :meth:`update` needs."""
        length = self.prompt_length
        needed = 0
        for piece in self._pieces(batch, self.training_tokens):
            sources = [self.task.dictionary.source(batch.units[i]) for i in piece]
            answers = [self.task.label_ids[batch.labels[i]] for i in piece]
            sequences = [np.append(*pair) for pair in zip(sources, answers, strict=True)]
            tree = Tree.of(sequences, [len(source) - 1 for source in sources])
            needed += training_operations(self.config, length, tree)
        return needed

    def inference_operations(self, batch: Examples, answer: int) -> int:
        """Operations that :meth:`infer` needs."""
        length = self.prompt_length
        needed = 0
        for piece in self._pieces(batch, self.inference_tokens, with_labels=False):
            sources = [self.task.dictionary.source(batch.units[i]) for i in piece]
            lengths = [len(source) for source in sources]
            tree = Tree.of(sequences=sources, wanted_from=[n - 1 for n in lengths])
            needed += forward_operations(self.config, length, tree)
            needed += decoding_operations(self.config, length, lengths, answer - 1)
        return needed

    def _pieces(self, batch: Examples, budget: int, with_labels: bool = True) -> list[list[int]]:
        labels: Sequence[Sequence[int]] = batch.labels if with_labels else [()] * len(batch)
        pairs = zip(batch.units, labels, strict=True)
        lengths = [self.task.length(units, row) for units, row in pairs]
        even = with_labels and self.task.padded is not None
        return micro_batches(lengths, range(len(batch)), budget, even)

    def _answering(self, answer: int) -> TaskModel:
        """The task with ``answer`` label columns, so that answers have a fixed length."""
        task = self.task
        if answer not in self.answering:
            columns = [range(len(task.label_ids))] * answer
            self.answering[answer] = TaskModel(
                task.lm, task.prompt, task.verbalizer, columns, dtype=task.dtype
            )
        return self.answering[answer]
