"""The unit language model: fairseq's pre-LayerNorm transformer decoder, computed without waste.

The architecture is GSLM's unit LM (Lakhotia et al. 2021, arXiv 2102.01192; fairseq
``transformer_lm_big``): sinusoidal positions, embeddings scaled by sqrt(d), tied output, ReLU.
Weights correspond one-to-one to fairseq's. The query, key and value projections of a layer are one
matrix here; :mod:`speechprompt.lm.fairseq` joins and splits them when a file is read or written.

Prompts are plain tensors to this module: rows of an input prompt, inputs of the key and value
projections per layer (:meth:`UnitLM.project_prompt`), and the separator's embedding (SpeechPrompt,
arXiv 2203.16773, section 3). What is not needed is not computed: a prefix that utterances share is
one row (:mod:`speechprompt.lm.packing`), deep prompts are never pushed through the layers, and the
last layer and the output see wanted positions only. With frozen weights, only rows that depend on
the prompt get a gradient in the first layer.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechprompt.errors import ConfigError
from speechprompt.lm.cache import Cache
from speechprompt.lm.dictionary import PAD, SEPARATOR
from speechprompt.lm.pack import Pack
from speechprompt.lm.prompt_tensors import PromptTensors

__all__ = ["LMConfig", "UnitLM"]

# Layers and sides beyond those of any model: a file that asks for more would keep a program busy.
MOST_LAYERS, LARGEST = 1000, 2**24
# Numbers in the table of positions, which no weight bears witness to.
LARGEST_TABLE = 2**28


@dataclass(frozen=True)
class LMConfig:
    """Shape of a unit LM; the defaults are GSLM's, 151,263,232 parameters.

    Raises:
        ConfigError: ``dim`` is not a multiple of 2 x ``heads``, or a number is none of a model.
    """

    n_symbols: int = 104
    layers: int = 12
    heads: int = 16
    dim: int = 1024
    ffn: int = 4096
    max_positions: int = 3072

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            most = MOST_LAYERS if name == "layers" else LARGEST
            if type(value) is not int or not 1 <= value <= most:
                raise ConfigError(
                    f"lm.{name}: expected a whole number from 1 to {most}, found {value!r:.100}"
                )
        if self.max_positions * self.dim > LARGEST_TABLE:
            raise ConfigError(
                f"lm.max_positions: expected at most {LARGEST_TABLE // self.dim} for {self.dim} "
                f"dimensions, found {self.max_positions}"
            )
        if self.dim % (2 * self.heads):
            raise ConfigError(
                f"lm.dim: expected a multiple of 2 x heads = {2 * self.heads}, found {self.dim}"
            )

    def activation_bytes(self, dtype: torch.dtype) -> int:
        """Memory that training takes for one token: what is kept for the gradient."""
        return self.layers * (14 * self.dim + self.ffn) * dtype.itemsize

    def cache_bytes(self, dtype: torch.dtype) -> int:
        """Memory that one token takes while answers are decoded: its keys and values."""
        return self.layers * 2 * self.dim * dtype.itemsize

    def to_dict(self) -> dict[str, int]:
        """The fields as metadata."""
        return asdict(self)


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

    def project(self, x: Tensor, wanted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Queries of the wanted rows (M, D), keys beside values (N, 2D) of residual rows (N, D)."""
        d = x.shape[1]
        h = _norm(self.attention_norm, x)
        if wanted is None or len(wanted) == len(x):
            return _linear(self.qkv, h).split((d, 2 * d), dim=1)
        weight, bias = _cast(self.qkv, h.dtype)
        queries = F.linear(h.index_select(0, wanted), weight[:d], bias[:d])
        return queries, F.linear(h, weight[d:], bias[d:])

    def split_heads(self, kv: Tensor, n: int) -> Tensor:
        """Keys beside values (B*S, 2D) of ``n`` = B lines, by heads: (B, 2, H, S, D / H)."""
        by_head = kv.view(n, -1, 2, self.heads, kv.shape[1] // (2 * self.heads))
        return by_head.permute(0, 2, 3, 1, 4)

    def attend(self, q: Tensor, kv: Tensor, mask: Tensor) -> Tensor:
        """Attend with queries (B*T, D) to keys and values (B, 2, H, S, D / H): (B*T, D).

        The mask, (B or 1, 1, T, S), is added to the scores.
        """
        n, shape = len(kv), q.shape
        k, v = kv.unbind(1)
        if len(q) == n:  # one query a line needs no other order
            q = q.view(n, self.heads, 1, -1)
        else:
            q = q.view(n, -1, self.heads, kv.shape[-1]).transpose(1, 2)
        if q.dtype == torch.bfloat16 and q.device.type == "cpu":
            mixed = _attend_in_blocks(q, k, v, mask)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return mixed.transpose(1, 2).reshape(shape)

    def finish(self, x: Tensor, mixed: Tensor, dropout: float = 0.0) -> Tensor:
        """Output projection and feed-forward network on the residual stream: (N, D)."""
        x = x + _drop(_linear(self.out, mixed), dropout)
        h = _linear(self.fc1, _norm(self.ffn_norm, x)).relu_()
        return x + _drop(_linear(self.fc2, h), dropout)


class UnitLM(nn.Module):
    """The unit language model.

    Args:
        config: shape of the model.
        dropout: dropout of embeddings and residual branches, in training mode only.
    """

    sinusoids: Tensor
    projections: Tensor | None

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
        self.register_buffer("sinusoids", _sinusoids(config), persistent=False)  # not learnt
        self.register_buffer("projections", None, persistent=False)

    @property
    def decoder_layers(self) -> list[Layer]:
        """The layers, from the input on."""
        return cast("list[Layer]", list(self.layers))

    @property
    def scale(self) -> float:
        """The factor on every token embedding."""
        return math.sqrt(self.config.dim)

    def freeze(self, dtype: torch.dtype = torch.float32) -> UnitLM:
        """Freeze every weight and store it in ``dtype``; embeddings stay float32.

        The projections of all layers become parts of one tensor, so that the prompts of all layers
        are projected at once.
        """
        self.requires_grad_(False).eval()
        for module in (*self.layers.modules(), self.norm):
            for name, weight in list(module.named_parameters(recurse=False)):
                setattr(module, name, _frozen(weight.to(dtype)))
        self.projections = torch.stack([layer.qkv.weight for layer in self.decoder_layers])
        for layer, weight in zip(self.decoder_layers, self.projections, strict=True):
            layer.qkv.weight = _frozen(weight)
        return self

    def forward(
        self, pack: Pack, prompt: PromptTensors | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Hidden states after the final norm of the wanted rows: (M, D), float32.

        Args:
            pack: the batch; the number type of its masks is that of the activations.
            prompt: the prompt, or None for the LM as it is.
            cache: an empty cache, which is filled with what :meth:`step` needs.
        """
        prompt = prompt or PromptTensors()
        p = self.dropout if self.training else 0.0
        x, free = self._embed(pack, prompt)
        x = _drop(x, p)
        deep = self.project_prompt(prompt, x.dtype)
        for i, layer in enumerate(self.decoder_layers):
            last = i == len(self.layers) - 1
            wanted = pack.wanted if last else None
            if i == 0 and not self.embed.requires_grad and torch.is_grad_enabled():
                q, kv = _project_for_free(free, layer, x, wanted)
            else:
                q, kv = layer.project(x, wanted)
            memory = pack.deep if i in deep else pack.plain
            kv = layer.split_heads(memory.gather(kv, deep.get(i)), len(memory.lengths))
            if cache is not None:
                cache.add(kv, memory.lengths)
            if last:
                mixed = layer.attend(pack.wanted_spread(q), kv, memory.wanted_mask)
                x, mixed = x.index_select(0, pack.wanted), pack.wanted_collect(mixed)
            else:
                mixed = pack.collect(layer.attend(pack.spread(q), kv, memory.mask))
            x = layer.finish(x, mixed, p)
        if cache is not None:
            cache.positions = pack.next_position.clone()
        return _in(torch.float32, _norm(self.norm, x))

    def project_prompt(self, prompt: PromptTensors, dtype: torch.dtype) -> dict[int, Tensor]:
        """Project deep prompt rows: by layer (L, 2D) keys beside values."""
        if prompt.keys is None or prompt.values is None:
            return {}
        layers = [self.decoder_layers[i] for i in prompt.layers]
        if self.projections is not None and len(layers) == len(self.layers):
            weight = self.projections
        else:
            weight = _in(dtype, torch.stack([layer.qkv.weight for layer in layers]))
        bias = _in(dtype, torch.stack([layer.qkv.bias for layer in layers]))
        # Those of keys and values: (layers, D, D) and (layers, 1, D).
        _, *weights = weight.mT.chunk(3, dim=2)
        _, *biases = bias[:, None].chunk(3, dim=2)
        projected = [
            torch.baddbmm(bias, _in(dtype, rows), weight)
            for rows, weight, bias in zip(
                (prompt.keys, prompt.values), weights, biases, strict=True
            )
        ]
        return dict(zip(prompt.layers, torch.cat(projected, dim=2).unbind(), strict=True))

    @torch.no_grad()
    def layer_inputs(self, pack: Pack) -> Tensor:
        """The inputs of the layers, in whose place deep prompt rows stand: (layers + 1, N, D).

        Entry 0 is the embedded input, entry 1 + i the normed input of layer i's projections.
        """
        x, _ = self._embed(pack, PromptTensors())
        found = [x]
        for layer in self.decoder_layers:
            found.append(_norm(layer.attention_norm, x))
            q, kv = layer.project(x)
            kv = layer.split_heads(pack.plain.gather(kv), len(pack.plain.lengths))
            mixed = layer.attend(pack.spread(q), kv, pack.plain.mask)
            x = layer.finish(x, pack.collect(mixed))
        return torch.stack(found).float()

    def step(self, tokens: Tensor, cache: Cache, prompt: PromptTensors | None = None) -> Tensor:
        """Read one more token (B,) of every cached sequence: hidden states (B, D), float32."""
        x = self.embed[tokens]
        if prompt is not None and prompt.separator is not None:
            x = torch.where((tokens == SEPARATOR)[:, None], prompt.separator, x)
        shifts = None if prompt is None else prompt.shifts_behind
        return self.extend(x[:, None], cache, shifts)[:, 0]

    def extend(
        self,
        x: Tensor,
        cache: Cache,
        shifts: Tensor | None = None,
        members: int = 1,
        shift_of: Tensor | None = None,
    ) -> Tensor:
        """Read n more tokens of every cached sequence.

        Args:
            x: (B, n, D) embeddings, before scaling.
            cache: the sequences so far.
            shifts: (layers, n, D) what is added to the tokens' inputs of each layer.
            members: of how many continuations the tokens are; each reads the sequence so far and
                itself.
            shift_of: (B, n) which of S shifts each token has; by default the i-th has the i-th.

        Returns:
            Hidden states after the final norm, (B, n, D), float32.
        """
        n = x.shape[1]
        positions = cache.positions[:, None] + torch.arange(n // members, device=x.device)
        positions = positions.repeat(1, members) if members > 1 else positions
        # A search may go on with answers that are finished, and need no further position.
        positions = positions.clamp_(max=self.config.max_positions - 1)
        p = self.dropout if self.training else 0.0
        x = _in(cache.layers[0].dtype, x * self.scale + self.sinusoids[positions]).flatten(0, 1)
        masks = cache.open(n, members)
        for i, layer in enumerate(self.decoder_layers):
            if shifts is not None:
                own = shifts[i] if shift_of is None else F.embedding(shift_of, shifts[i])
                x = (x.unflatten(0, (-1, n)) + _in(x.dtype, own)).flatten(0, 1)
            q, kv = layer.project(x)
            kv = cache.append(i, layer.split_heads(kv, len(positions)))
            x = layer.finish(x, layer.attend(q, kv, masks[cache.starts[i]]), p)
        cache.close(n)
        return _in(torch.float32, _norm(self.norm, x)).unflatten(0, (-1, n))

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every symbol, float32: (M, n_symbols)."""
        return F.linear(hidden, self.embed)

    def _embed(self, pack: Pack, prompt: PromptTensors) -> tuple[Tensor, Tensor]:
        """Input rows (N, D) and the indices of those that come from the prompt."""
        x = F.embedding(pack.tokens, self.embed) * self.scale
        x = x + self.sinusoids[pack.positions]
        free = [pack.prompt_rows]
        if prompt.separator is not None:
            index = pack.separators
            separator = prompt.separator
            if pack.owner is not None:
                separator = separator[pack.owner[index]]
            own = separator * self.scale + self.sinusoids[pack.positions[index]]
            x = x.index_copy(0, index, own)
            free.append(index)
        if prompt.rows is not None:
            index = pack.prompt_rows
            x = x.index_copy(0, index, F.embedding(pack.prompt_numbers, prompt.rows))
        return _in(pack.dtype, x), torch.cat(free)


def _project_for_free(
    free: Tensor, layer: Layer, x: Tensor, wanted: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The first layer's projections, of which only the free rows receive a gradient."""
    with torch.no_grad():
        q, kv = layer.project(x)
    own_q, own_kv = layer.project(x.index_select(0, free))
    q, kv = q.index_copy(0, free, own_q), kv.index_copy(0, free, own_kv)
    return (q if wanted is None else q.index_select(0, wanted)), kv


def _attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, block: int = 128) -> Tensor:
    """Attention by plain products: torch's fused kernel is several times slower in bf16 on a CPU.

    With a causal mask, which is one for all lines, a block of queries reads the keys up to its end.
    """
    q = q * q.shape[-1] ** -0.5
    t, s = mask.shape[-2:]
    mixed = []
    for start in range(0, t, block):
        end = min(t, start + block)
        seen = s - t + end if len(mask) == 1 else s
        scores = q[:, :, start:end] @ k[:, :, :seen].transpose(-1, -2)
        scores = scores.add_(mask[:, :, start:end, :seen])
        mixed.append(scores.softmax(-1) @ v[:, :, :seen])
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=2)


def _linear(module: nn.Linear, x: Tensor) -> Tensor:
    weight, bias = _cast(module, x.dtype)
    return F.linear(x, weight, bias)


def _norm(module: nn.LayerNorm, x: Tensor) -> Tensor:
    weight, bias = _cast(module, x.dtype)
    return F.layer_norm(x, x.shape[-1:], weight, bias, module.eps)


def _cast(module: nn.Linear | nn.LayerNorm, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A module's weight and bias in the activations' number type."""
    return _in(dtype, module.weight), _in(dtype, module.bias)


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)


def _in(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    """A tensor in a number type; asking torch for what is there already would cost a call."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def _drop(x: Tensor, share: float) -> Tensor:
    return F.dropout(x, share) if share else x


def _sinusoids(config: LMConfig) -> Tensor:
    """Positions as in tensor2tensor, (max_positions, D); the first token has number PAD + 1."""
    table = torch.empty(config.max_positions, config.dim)
    if table.is_meta:  # arithmetic there would make torch import its compiler
        return table
    half = config.dim // 2
    frequency = torch.exp(torch.arange(half, dtype=torch.float) * -(math.log(10000) / (half - 1)))
    angle = torch.arange(PAD + 1, PAD + 1 + len(table)).float()[:, None] * frequency
    return torch.cat((angle.sin(), angle.cos()), dim=1)
