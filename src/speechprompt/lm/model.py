"""The unit language model: fairseq's pre-LayerNorm transformer decoder, computed without waste.

The architecture is GSLM's unit LM (Lakhotia et al. 2021, arXiv 2102.01192; fairseq
``transformer_lm_big``): sinusoidal positions, embeddings scaled by sqrt(d), tied output, ReLU.
Weights correspond one-to-one to fairseq's (:mod:`speechprompt.lm.fairseq`); keys, queries and
values share one matrix here, split on the way in and out.

Prompts are plain tensors to this module: rows of an input prompt, keys and values per layer, and
the separator's embedding (SpeechPrompt, arXiv 2203.16773, section 3). What is not needed is not
computed: a prefix that utterances share is one row (:mod:`speechprompt.lm.packing`), deep prompts
are never pushed through the layers, the last layer and the output see wanted positions only, and
with frozen weights the first layer's gradient stops at the rows that can be trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechprompt.errors import ConfigError
from speechprompt.lm.dictionary import PAD, SEPARATOR
from speechprompt.lm.packing import Memory, Pack

__all__ = ["Cache", "LMConfig", "PromptTensors", "UnitLM"]


@dataclass(frozen=True)
class LMConfig:
    """Shape of a unit LM; the defaults are GSLM's, 151,263,232 parameters.

    Raises:
        ConfigError: ``dim`` is not a multiple of 2 x ``heads``.
    """

    n_symbols: int = 104
    layers: int = 12
    heads: int = 16
    dim: int = 1024
    ffn: int = 4096
    max_positions: int = 3072

    def __post_init__(self) -> None:
        if self.dim % (2 * self.heads):
            raise ConfigError(
                f"lm.dim: expected a multiple of 2 x heads = {2 * self.heads}, found {self.dim}"
            )

    def to_dict(self) -> dict[str, int]:
        """The fields, for metadata."""
        return asdict(self)


@dataclass(frozen=True)
class PromptTensors:
    """A prompt as the model takes it.

    Attributes:
        separator: (D,) embedding that stands for ``<s>``, before scaling; None keeps the LM's own.
        rows: (L, D) input prompt, or None.
        keys, values: layer -> (L, D) in the place of the LayerNorm's output before the frozen
            projections.
    """

    separator: Tensor | None = None
    rows: Tensor | None = None
    keys: Mapping[int, Tensor] = field(default_factory=dict)
    values: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass
class Cache:
    """Keys and values of the sequences so far.

    Attributes:
        keys, values: per layer (B, H, S, D/H).
        mask: per layer (B, 1, 1, S), added to the scores: -inf where a slot is empty.
        slots: per layer (B,) the next free slot.
        positions: (B,) position of the next token.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: list[Tensor]
    slots: list[Tensor]
    positions: Tensor

    def select(self, index: Tensor) -> Cache:
        """The cache of some of the sequences, in the order of ``index``."""
        per_layer = (
            [tensor.index_select(0, index) for tensor in tensors]
            for tensors in (self.keys, self.values, self.mask, self.slots)
        )
        return Cache(*per_layer, self.positions.index_select(0, index))


class Layer(nn.Module):
    """One decoder layer: x + attention(LN(x)), then x + FFN(LN(x))."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        d = config.dim
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.ffn_norm = nn.LayerNorm(d)
        self.fc1 = nn.Linear(d, config.ffn)
        self.fc2 = nn.Linear(config.ffn, d)
        for weight in self.qkv.weight.chunk(3):
            nn.init.xavier_uniform_(weight, gain=2**-0.5)
        for linear in (self.out, self.fc1, self.fc2):
            nn.init.xavier_uniform_(linear.weight)
        for linear in (self.qkv, self.out, self.fc1, self.fc2):
            nn.init.zeros_(linear.bias)

    def memory_rows(self, keys: Tensor, values: Tensor) -> Tensor:
        """Project deep prompt rows, 2 x (L, D), to keys and values: (L, 2D)."""
        d = keys.shape[-1]
        weight, bias = _cast(self.qkv, keys.dtype)
        projected = [
            F.linear(rows, weight[i * d : (i + 1) * d], bias[i * d : (i + 1) * d])
            for i, rows in ((1, keys), (2, values))
        ]
        return torch.cat(projected, dim=1)

    def attend(
        self,
        queries: Tensor,  # (N, D)
        memory: Tensor,  # (R, 2D) keys and values of prompt rows and packed rows
        query_index: Tensor,  # (B, T) into the queries
        memory_index: Tensor,  # (B, S) into the memory
        mask: Tensor,  # (B or 1, 1, T, S)
        owner: Tensor,  # (N,) flat query slots
        dropout: float = 0.0,
    ) -> Tensor:
        """Attention of packed rows: (N, D)."""
        b, t = query_index.shape
        d = queries.shape[1]
        q = F.embedding(query_index, queries).view(b, t, self.heads, -1).transpose(1, 2)
        kv = F.embedding(memory_index, memory).view(b, -1, 2, self.heads, d // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4)  # 2 x (B, H, S, D/H)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return mixed.transpose(1, 2).reshape(b * t, d).index_select(0, owner)

    def finish(self, x: Tensor, mixed: Tensor, dropout: float = 0.0) -> Tensor:
        """Output projection and feed-forward network on the residual stream: (N, D)."""
        x = x + F.dropout(_linear(self.out, mixed), dropout)
        h = _linear(self.fc1, _norm(self.ffn_norm, x)).relu_()
        return x + F.dropout(_linear(self.fc2, h), dropout)


class UnitLM(nn.Module):
    """The unit language model.

    Args:
        config: its shape.
        dropout: of attention weights and residual branches, in training mode only.
    """

    def __init__(self, config: LMConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.dropout = dropout
        self.embed = nn.Parameter(torch.empty(config.n_symbols, config.dim))
        nn.init.normal_(self.embed, std=config.dim**-0.5)
        with torch.no_grad():
            self.embed[PAD].zero_()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.register_buffer("sinusoids", _sinusoids(config), persistent=False)

    @property
    def scale(self) -> float:
        """Factor on every token embedding."""
        return math.sqrt(self.config.dim)

    def freeze(self, dtype: torch.dtype = torch.float32) -> UnitLM:
        """Make every weight constant and store it in ``dtype``; logits stay float32."""
        self.requires_grad_(False).eval().to(dtype)
        return self

    def forward(self, pack: Pack, prompt: PromptTensors | None = None) -> Tensor:
        """Hidden states after the final norm of the wanted rows: (M, D), float32."""
        prompt = prompt or PromptTensors()
        dtype = pack.plain.mask.dtype
        p = self.dropout if self.training else 0.0
        frozen = not self.embed.requires_grad
        x, free = self._embed(pack, prompt, dtype)
        x = F.dropout(x, p)
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            if i == 0 and frozen and torch.is_grad_enabled():
                # Only the free rows can receive a gradient: project the others as constants.
                with torch.no_grad():
                    qkv = _linear(layer.qkv, _norm(layer.attention_norm, x))
                if len(free):
                    own = _linear(layer.qkv, _norm(layer.attention_norm, x.index_select(0, free)))
                    qkv = qkv.index_copy(0, free, own)
                q, kv = qkv.split((qkv.shape[1] // 3, 2 * qkv.shape[1] // 3), dim=1)
            else:
                h = _norm(layer.attention_norm, x)
                if i == last:
                    q, kv = self._last_projections(layer, h, pack)
                else:
                    q, kv = _linear(layer.qkv, h).split((h.shape[1], 2 * h.shape[1]), dim=1)
            memory, kv = self._memory(i, pack, prompt, kv)
            if i == last:
                if len(q) != len(pack.wanted):
                    q = q.index_select(0, pack.wanted)
                index, mask, owner = pack.wanted_query, memory.wanted_mask, pack.wanted_owner
                x = x.index_select(0, pack.wanted)
            else:
                index, mask, owner = pack.query, memory.mask, pack.owner
            x = layer.finish(x, layer.attend(q, kv, index, memory.index, mask, owner, p), p)
        return _norm(self.norm, x).float()

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every symbol, float32: (M, n_symbols)."""
        return F.linear(hidden, self.embed.float())

    def _embed(
        self, pack: Pack, prompt: PromptTensors, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Input rows (N, D) and the indices of those that come from the prompt."""
        tokens, positions = pack.tokens, self.sinusoids[pack.positions.clamp(min=0)]
        x = F.embedding(tokens.clamp(min=0), self.embed).float() * self.scale + positions
        is_row = tokens < 0
        free = is_row if prompt.rows is not None else torch.zeros_like(is_row)
        if prompt.separator is not None:
            separators = tokens == SEPARATOR
            free = free | separators
        free = free.nonzero()[:, 0]
        if len(free):
            parts = []
            if prompt.separator is not None:
                index = separators.nonzero()[:, 0]
                own = prompt.separator.float() * self.scale + positions.index_select(0, index)
                parts.append((index, own))
            if prompt.rows is not None:
                index = is_row.nonzero()[:, 0]
                parts.append((index, F.embedding(-1 - tokens[index], prompt.rows.float())))
            for index, own in parts:
                x = x.index_copy(0, index, own)
        return x.to(dtype), free

    def _last_projections(self, layer: Layer, h: Tensor, pack: Pack) -> tuple[Tensor, Tensor]:
        """Queries of the wanted rows only, keys and values of all."""
        d = h.shape[1]
        weight, bias = _cast(layer.qkv, h.dtype)
        wanted = h if len(pack.wanted) == len(h) else h.index_select(0, pack.wanted)
        return F.linear(wanted, weight[:d], bias[:d]), F.linear(h, weight[d:], bias[d:])

    def _memory(
        self, layer: int, pack: Pack, prompt: PromptTensors, kv: Tensor
    ) -> tuple[Memory, Tensor]:
        if layer not in prompt.keys:
            return pack.plain, kv
        dtype = kv.dtype
        rows = self.layers[layer].memory_rows(
            prompt.keys[layer].to(dtype), prompt.values[layer].to(dtype)
        )
        return pack.deep, torch.cat((rows, kv))


def _linear(module: nn.Linear, x: Tensor) -> Tensor:
    weight, bias = _cast(module, x.dtype)
    return F.linear(x, weight, bias)


def _norm(module: nn.LayerNorm, x: Tensor) -> Tensor:
    weight, bias = _cast(module, x.dtype)
    return F.layer_norm(x, x.shape[-1:], weight, bias, module.eps)


def _cast(module: nn.Linear | nn.LayerNorm, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A module's weight and bias in the activations' type; no copy where they already are."""
    return module.weight.to(dtype), module.bias.to(dtype)


def _sinusoids(config: LMConfig) -> Tensor:
    """(max_positions, D) tensor2tensor-style positions: the first token has number PAD + 1."""
    half = config.dim // 2
    frequency = torch.exp(torch.arange(half, dtype=torch.float) * -(math.log(10000) / (half - 1)))
    number = torch.arange(PAD + 1, PAD + 1 + config.max_positions, dtype=torch.float)
    angle = number[:, None] * frequency
    return torch.cat((angle.sin(), angle.cos()), dim=1)
