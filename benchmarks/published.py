"""The published implementation, on fairseq's decoder.

It computes as the authors' code does (arXiv 2203.16773; github.com/ga642381/SpeechPrompt). The rows
of the input prompt are put in front of the embedded batch and go through all layers. In each layer
the deep rows replace the input of the key and value projections at these positions. Batches have
similar lengths and padding, logits and their log-softmax are computed at every position, in
float32. Generation runs fairseq's loop over prefix tokens without a cache: one pass over the whole
sequence so far for each token of the source and of the answer.

The layers are fairseq 0.12.2's, unchanged. A hook replaces the keys and values that they pass to
their attention. With torch 2 the attention is torch's kernel, which is faster than the published
one.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.contender import DROPOUT, Update
from benchmarks.data import Workload
from speechprompt.config.tasks import PromptSettings
from speechprompt.lm import Dictionary, LMConfig, UnitLM, load_lm
from speechprompt.lm.dictionary import END, PAD, SEPARATOR
from speechprompt.lm.fairseq import to_fairseq
from speechprompt.models.importing.fairseq_library import import_fairseq
from speechprompt.prompting.prompt import Prompt
from speechprompt.tasks.examples import Examples

__all__ = ["Published", "build_decoder"]


def build_decoder(model: UnitLM) -> nn.Module:
    """fairseq's decoder with the weights of a unit LM, frozen."""
    lm, data = _import_fairseq()
    config: LMConfig = model.config
    dictionary = data.Dictionary()
    for unit in range(config.n_symbols - 4):
        dictionary.add_symbol(str(unit))
    options = lm.TransformerLanguageModelConfig(
        decoder_layers=config.layers,
        decoder_attention_heads=config.heads,
        decoder_embed_dim=config.dim,
        decoder_input_dim=config.dim,
        decoder_output_dim=config.dim,
        decoder_ffn_embed_dim=config.ffn,
        share_decoder_input_output_embed=True,
        decoder_normalize_before=True,
        max_target_positions=config.max_positions,
        tokens_per_sample=config.max_positions,
        activation_fn="relu",
        dropout=0.0,
        attention_dropout=0.0,
    )
    task = Namespace(source_dictionary=dictionary, target_dictionary=dictionary)
    reference = lm.TransformerLanguageModel.build_model(options, task)
    reference.load_state_dict(to_fairseq(model), strict=True)
    return reference.decoder.requires_grad_(False)


class Published:
    """Input rows and deep rows in every layer, as the authors train and store them.

    Args:
        decoder: the result of :func:`build_decoder`.
        dictionary: maps units to ids.
        prompt: the trained prompt, of mode ``both``.
        passes: number of passes of a generation that are run with given answers, evenly spread over
            its lengths; None runs all.
    """

    def __init__(
        self, decoder: Any, dictionary: Dictionary, prompt: Prompt, passes: int | None = None
    ) -> None:
        self.decoder = decoder
        self.dictionary = dictionary
        self.prompt = prompt
        self.passes = passes
        self.optimiser = Update(list(prompt.parameters()))
        self._deep: list[list[Tensor]] = [[]] * len(decoder.layers)
        for i, layer in enumerate(decoder.layers):
            layer.self_attn.register_forward_pre_hook(self._overwrite(i), with_kwargs=True)

    @classmethod
    def load(cls, lm_path: str | Path, workload: Workload, passes: int) -> Published:
        """Read a unit LM file and start a prompt for a workload."""
        lm = load_lm(lm_path)
        prompt = Prompt(
            lm.model.config,
            PromptSettings(length=workload.prompt_length, mode="both", dropout=DROPOUT),
            torch.Generator().manual_seed(1),
        )
        return cls(build_decoder(lm.model), lm.dictionary, prompt, passes)

    def training_batches(self, workload: Workload, size: int) -> list[Examples]:
        return workload.sorted_batches(size)

    def inference_batches(self, workload: Workload, size: int) -> list[Examples]:
        return workload.sorted_batches(size)

    def update(self, batch: Examples) -> float:
        self.decoder.train()
        self.optimiser.start()
        loss, n_tokens = self.loss(batch, self.prompt.dropout)
        loss.backward()
        self.optimiser.finish(n_tokens)
        return loss.item() / n_tokens

    def loss(self, batch: Examples, dropout: float) -> tuple[Tensor, int]:
        """Summed cross-entropy of labels and end, and the number of these tokens."""
        sources = [self.dictionary.source(units) for units in batch.units]
        answers = [self.dictionary.ids(labels) for labels in batch.labels]
        pairs = list(zip(sources, answers, strict=True))
        tokens = _padded([np.append(source, answer) for source, answer in pairs])
        target = _padded(
            [np.concatenate(([PAD] * (len(s) - 1), a, [END])).astype(np.int64) for s, a in pairs]
        )
        scores = self.logits(tokens, dropout).log_softmax(-1)
        loss = F.nll_loss(scores.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="sum")
        return loss, int((target != PAD).sum())

    @torch.no_grad()
    def infer(self, batch: Examples, answer: int) -> float:
        tokens, ends = self._start(batch, answer)
        total = int(ends.max())
        n = min(total, self.passes or total)
        # The time of a pass does not depend on the tokens, so that those of answers are arbitrary.
        known = torch.where(tokens == PAD, len(self.dictionary.units), tokens)
        for i in range(n):
            length = 1 + int((i + 0.5) * total / n)
            self.logits(known[ends >= length, :length])[:, -1].argmax(1)
        return n / total

    @torch.no_grad()
    def generate(self, batch: Examples, answer: int) -> list[list[int]]:
        """Run all passes: ids of the ``answer`` best next tokens of every utterance."""
        tokens, ends = self._start(batch, answer)
        for length in range(1, int(ends.max())):
            going = (ends > length).nonzero()[:, 0]
            best = self.logits(tokens[going, :length])[:, -1].argmax(1)
            given = tokens[going, length]
            tokens[going, length] = torch.where(given == PAD, best, given)
        return [row[end - answer : end].tolist() for row, end in zip(tokens, ends, strict=True)]

    def logits(self, tokens: Tensor, dropout: float = 0.0) -> Tensor:
        """Scores (B, L + T, n_symbols) of padded ids (B, T), prompt positions included."""
        decoder, prompt = self.decoder, self.prompt
        embedded = decoder.embed_tokens(tokens)
        embedded = torch.where((tokens == SEPARATOR)[..., None], prompt.separator, embedded)
        embedded = decoder.embed_scale * embedded + decoder.embed_positions(tokens)
        rows = F.dropout(prompt.rows, dropout).expand(len(tokens), -1, -1)
        x = torch.cat((rows, embedded), dim=1).transpose(0, 1)
        padding = F.pad(tokens == PAD, (prompt.length, 0)) if (tokens == PAD).any() else None
        mask = decoder.buffered_future_mask(x)
        for i, layer in enumerate(decoder.layers):
            self._deep[i] = [F.dropout(p[i], dropout) for p in (prompt.keys, prompt.values)]
            x = layer(x, self_attn_mask=mask, self_attn_padding_mask=padding)[0]
        scores = decoder.output_layer(decoder.layer_norm(x).transpose(0, 1))
        return scores[:, prompt.length :]

    def _overwrite(self, layer: int) -> Callable[..., tuple[tuple, dict[str, Any]]]:
        def hook(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict]:
            replaced = {}
            for name, rows in zip(("key", "value"), self._deep[layer], strict=True):
                replaced[name] = kwargs[name].clone()
                replaced[name][: len(rows)] = rows[:, None]
            return args, kwargs | replaced

        return hook

    def _start(self, batch: Examples, answer: int) -> tuple[Tensor, Tensor]:
        """Sources with space for answers, padded ids (B, T), and the ends of answers (B,)."""
        sources = [self.dictionary.source(units) for units in batch.units]
        self.decoder.eval()
        tokens = _padded([np.append(source, [PAD] * answer) for source in sources])
        return tokens, torch.tensor([len(source) + answer for source in sources])


def _padded(rows: list[np.ndarray]) -> Tensor:
    padded = torch.full((len(rows), max(map(len, rows))), PAD)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = torch.from_numpy(row)
    return padded


def _import_fairseq() -> tuple[Any, Any]:
    """fairseq's language model and data modules."""
    logging.disable(logging.INFO)
    return import_fairseq("fairseq.models.transformer_lm"), import_fairseq("fairseq.data")
