"""The library that users would choose instead: peft's prefix tuning on a decoder of transformers.

OPT is the decoder of transformers that is most similar to the unit LM: pre-LayerNorm, ReLU, tied
embeddings, but learned positions. The code follows the libraries' guides: random batches padded to
the longest row, masked labels of the source, ``model(...).loss.backward()``, ``model.generate``.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.contender import Update
from benchmarks.data import Workload
from speechprompt.lm import Dictionary, LMConfig
from speechprompt.lm.dictionary import END, PAD
from speechprompt.tasks.examples import Examples

__all__ = ["PrefixTuning"]

_IGNORED = -100


class PrefixTuning:
    """A random OPT model of the unit LM's size with a trained prefix.

    Args:
        config: shape of the unit LM.
        workload: the utterances, which decide the prefix's length.
        precision: fp32 or bf16.
        device: cpu or cuda.
    """

    def __init__(
        self, config: LMConfig, workload: Workload, precision: str, device: str = "cpu"
    ) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        warnings.simplefilter("ignore", FutureWarning)
        from peft import PrefixTuningConfig, get_peft_model
        from transformers import OPTConfig, OPTForCausalLM

        torch.manual_seed(1)
        shape = OPTConfig(
            vocab_size=config.n_symbols,
            hidden_size=config.dim,
            word_embed_proj_dim=config.dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            ffn_dim=config.ffn,
            max_position_embeddings=config.max_positions,
            activation_function="relu",
            dropout=0.0,
            attention_dropout=0.0,
            bos_token_id=END,
            eos_token_id=END,
            pad_token_id=PAD,
        )
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        tuning = PrefixTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=workload.prompt_length
        )
        self.device = device
        model: Any = OPTForCausalLM(shape)
        self.model = get_peft_model(model.to(dtype), tuning).to(device)
        self.dictionary = Dictionary(range(config.n_symbols - 4))
        self.optimiser = Update(list(self.model.parameters()))

    def training_batches(self, workload: Workload, size: int) -> list[Examples]:
        return workload.batches(size)

    def inference_batches(self, workload: Workload, size: int) -> list[Examples]:
        return workload.batches(size)

    def update(self, batch: Examples) -> float:
        self.model.train()
        inputs, labels = [], []
        for units, answer in zip(batch.units, batch.labels, strict=True):
            source = self.dictionary.source(units)
            target = np.append(self.dictionary.ids(answer), END)
            inputs.append(np.append(source, target))
            labels.append(np.append(np.full(len(source), _IGNORED), target))
        tokens = self._padded(inputs, PAD)
        self.optimiser.start()
        loss = self.model(
            input_ids=tokens,
            attention_mask=(tokens != PAD).long(),
            labels=self._padded(labels, _IGNORED),
        ).loss
        loss.backward()
        self.optimiser.finish(1)  # the loss is a mean already
        return loss.item()

    @torch.no_grad()
    def infer(self, batch: Examples, answer: int) -> float:
        self.model.eval()
        sources = [self.dictionary.source(units) for units in batch.units]
        tokens = self._padded(sources, PAD, left=True)
        self.model.generate(
            input_ids=tokens,
            attention_mask=(tokens != PAD).long(),
            min_new_tokens=answer,
            max_new_tokens=answer,
            do_sample=False,
        )
        return 1.0

    def _padded(self, rows: list[np.ndarray], filler: int, left: bool = False) -> Tensor:
        padded = torch.full((len(rows), max(map(len, rows))), filler)
        for target, row in zip(padded, rows, strict=True):
            part = target[len(target) - len(row) :] if left else target[: len(row)]
            part.copy_(torch.from_numpy(row))
        return padded.to(self.device)
