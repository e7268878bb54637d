"""The unit language model: fairseq's pre-LayerNorm transformer decoder, computed without waste.

The architecture is GSLM's unit LM (Lakhotia et al. 2021, arXiv 2102.01192; fairseq
``transformer_lm_big``): sinusoidal positions, embeddings scaled by sqrt(d), tied output, ReLU.
Positions may be learnt instead. Weights correspond one-to-one to fairseq's. The query, key and
value projections of a layer are one matrix here; :mod:`speechprompt.lm.fairseq` joins and splits
them when a file is read or written.

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
from speechprompt.lm.layer import Layer, drop, in_type, norm
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

    With ``learned_positions``, positions have trained embeddings instead of sinusoids.

    Raises:
        ConfigError: ``dim`` is not a multiple of 2 x ``heads``, or a number is none of a model.
    """

    n_symbols: int = 104
    layers: int = 12
    heads: int = 16
    dim: int = 1024
    ffn: int = 4096
    max_positions: int = 3072
    learned_positions: bool = False

    def __post_init__(self) -> None:
        if type(self.learned_positions) is not bool:
            raise ConfigError(f"lm.learned_positions: found {self.learned_positions!r:.100}")
        for name in ("n_symbols", "layers", "heads", "dim", "ffn", "max_positions"):
            value = getattr(self, name)
            most = MOST_LAYERS if name == "layers" else LARGEST
            if type(value) is not int or not 1 <= value <= most:
                raise ConfigError(
                    f"lm.{name}: expected a whole number from 1 to {most}, found {value!r:.100}"
                )
        if not self.learned_positions and self.max_positions * self.dim > LARGEST_TABLE:
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
        fields = asdict(self)
        if not self.learned_positions:
            del fields["learned_positions"]  # files of the first versions have no such field
        return fields


class UnitLM(nn.Module):
    """The unit language model.

    Args:
        config: shape of the model.
        dropout: dropout of embeddings and residual branches, in training mode only.
    """

    positions: Tensor
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
        if config.learned_positions:
            self.positions = nn.Parameter(torch.empty(config.max_positions, config.dim))
            nn.init.normal_(self.positions, std=config.dim**-0.5)
        else:
            self.register_buffer("positions", _sinusoids(config), persistent=False)
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
        x = drop(x, p)
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
        return in_type(torch.float32, norm(self.norm, x))

    def project_prompt(self, prompt: PromptTensors, dtype: torch.dtype) -> dict[int, Tensor]:
        """Project deep prompt rows: by layer (L, 2D) keys beside values."""
        if prompt.keys is None or prompt.values is None:
            return {}
        layers = [self.decoder_layers[i] for i in prompt.layers]
        if self.projections is not None and len(layers) == len(self.layers):
            weight = self.projections
        else:
            weight = in_type(dtype, torch.stack([layer.qkv.weight for layer in layers]))
        bias = in_type(dtype, torch.stack([layer.qkv.bias for layer in layers]))
        # Those of keys and values: (layers, D, D) and (layers, 1, D).
        _, *weights = weight.mT.chunk(3, dim=2)
        _, *biases = bias[:, None].chunk(3, dim=2)
        projected = [
            torch.baddbmm(bias, in_type(dtype, rows), weight)
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
            found.append(norm(layer.attention_norm, x))
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
        x = in_type(cache.layers[0].dtype, x * self.scale + self.positions[positions]).flatten(0, 1)
        masks = cache.open(n, members)
        for i, layer in enumerate(self.decoder_layers):
            if shifts is not None:
                own = shifts[i] if shift_of is None else F.embedding(shift_of, shifts[i])
                x = (x.unflatten(0, (-1, n)) + in_type(x.dtype, own)).flatten(0, 1)
            q, kv = layer.project(x)
            kv = cache.append(i, layer.split_heads(kv, len(positions)))
            x = layer.finish(x, layer.attend(q, kv, masks[cache.starts[i]]), p)
        cache.close(n)
        return in_type(torch.float32, norm(self.norm, x)).unflatten(0, (-1, n))

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every symbol, float32: (M, n_symbols)."""
        return F.linear(hidden, self.embed)

    def _embed(self, pack: Pack, prompt: PromptTensors) -> tuple[Tensor, Tensor]:
        """Input rows (N, D) and the indices of those that come from the prompt."""
        x = F.embedding(pack.tokens, self.embed) * self.scale
        x = x + self.positions[pack.positions]
        free = [pack.prompt_rows]
        if prompt.separator is not None:
            index = pack.separators
            separator = prompt.separator
            if pack.owner is not None:
                separator = separator[pack.owner[index]]
            own = separator * self.scale + self.positions[pack.positions[index]]
            x = x.index_copy(0, index, own)
            free.append(index)
        if prompt.rows is not None:
            index = pack.prompt_rows
            x = x.index_copy(0, index, F.embedding(pack.prompt_numbers, prompt.rows))
        return in_type(pack.dtype, x), torch.cat(free)


def _project_for_free(
    free: Tensor, layer: Layer, x: Tensor, wanted: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The first layer's projections, of which only the free rows receive a gradient."""
    with torch.no_grad():
        q, kv = layer.project(x)
    own_q, own_kv = layer.project(x.index_select(0, free))
    q, kv = q.index_copy(0, free, own_q), kv.index_copy(0, free, own_kv)
    return (q if wanted is None else q.index_select(0, wanted)), kv


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)


def _sinusoids(config: LMConfig) -> Tensor:
    """Positions as in tensor2tensor, (max_positions, D); the first token has number PAD + 1."""
    table = torch.empty(config.max_positions, config.dim)
    if table.is_meta:  # arithmetic there would make torch import its compiler
        return table
    half = config.dim // 2
    frequency = torch.exp(torch.arange(half, dtype=torch.float) * -(math.log(10000) / (half - 1)))
    angle = torch.arange(PAD + 1, PAD + 1 + len(table)).float()[:, None] * frequency
    return torch.cat((angle.sin(), angle.cos()), dim=1)
