"""The unit language model: fairseq's pre-LayerNorm transformer decoder, computed without waste.

The architecture is GSLM's unit LM (Lakhotia et al. 2021, arXiv 2102.01192; fairseq
``transformer_lm_big``): sinusoidal positions, embeddings scaled by sqrt(d), tied output, ReLU.
Weights correspond one-to-one to fairseq's. The query, key and value projections of a layer are one
matrix here; :mod:`speechprompt.lm.fairseq` joins and splits them when a file is read or written.
:class:`LMConfig` says in what other unit LMs differ: OPT, OPT-350m and Qwen2.

Prompts are plain tensors to this module: rows of an input prompt, inputs of the key and value
projections per layer (:meth:`UnitLM.project_prompt`), and the separator's embedding (SpeechPrompt,
arXiv 2203.16773, section 3). What is not needed is not computed: a prefix that utterances share is
one row (:mod:`speechprompt.lm.packing`), deep prompts are never pushed through the layers, and the
last layer and the output see wanted positions only. With frozen weights, only rows that depend on
the prompt get a gradient in the first layer.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechprompt.errors import ConfigError
from speechprompt.lm.cache import Cache
from speechprompt.lm.dictionary import PAD, SEPARATOR
from speechprompt.lm.layer import FORMS, Layer, build_layer, build_norm, drop, in_type, norm
from speechprompt.lm.pack import Pack
from speechprompt.lm.prompt_tensors import PromptTensors

__all__ = ["LMConfig", "UnitLM"]

# Layers and sides beyond those of any model: a file that asks for more would keep a program busy.
MOST_LAYERS, LARGEST = 1000, 2**24
# Fields of LMConfig that every file has.
SHAPE = {"n_symbols", "layers", "heads", "dim", "ffn", "max_positions"}
# Numbers in the table of positions, which no weight bears witness to.
LARGEST_TABLE = 2**28


@dataclass(frozen=True)
class LMConfig:
    """Shape of a unit LM; the defaults are GSLM's, 151,263,232 parameters.

    Attributes:
        n_symbols: number of symbols of the dictionary.
        layers, heads, dim, ffn, max_positions: the shape.
        learned_positions: whether positions have trained embeddings instead of sinusoids.
        form: ``gslm``; ``opt-350m``, whose norms come after each part of a layer; or ``qwen2``,
            which has RMSNorm, gated networks and rotary positions.
        kv_heads: number of heads of keys and values; 0 for as many as there are heads.
        rotary_base: base of the wavelengths of rotary positions.
        norm_epsilon: what norms add to a variance.
        tied: whether the output is the embedding.

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
    form: str = "gslm"
    kv_heads: int = 0
    rotary_base: float = 1e4
    norm_epsilon: float = 1e-5
    tied: bool = True

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ConfigError(
                f"lm.form: expected one of {', '.join(FORMS)}, found {self.form!r:.100}"
            )
        for name in ("learned_positions", "tied"):
            if type(getattr(self, name)) is not bool:
                raise ConfigError(f"lm.{name}: found {getattr(self, name)!r:.100}")
        for name in ("rotary_base", "norm_epsilon"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise ConfigError(f"lm.{name}: expected a number above 0, found {value!r:.100}")
        for name in ("n_symbols", "layers", "heads", "dim", "ffn", "max_positions"):
            value = getattr(self, name)
            most = MOST_LAYERS if name == "layers" else LARGEST
            if type(value) is not int or not 1 <= value <= most:
                raise ConfigError(
                    f"lm.{name}: expected a whole number from 1 to {most}, found {value!r:.100}"
                )
        if self.has_sinusoids and self.max_positions * self.dim > LARGEST_TABLE:
            raise ConfigError(
                f"lm.max_positions: expected at most {LARGEST_TABLE // self.dim} for {self.dim} "
                f"dimensions, found {self.max_positions}"
            )
        if self.dim % (2 * self.heads):
            raise ConfigError(
                f"lm.dim: expected a multiple of 2 x heads = {2 * self.heads}, found {self.dim}"
            )
        groups = self.kv_heads
        if type(groups) is not int or not 0 <= groups <= self.heads or self.heads % (groups or 1):
            raise ConfigError(
                f"lm.kv_heads: expected a divisor of heads = {self.heads}, found {groups!r:.100}"
            )

    @property
    def has_sinusoids(self) -> bool:
        """Whether positions are sinusoids."""
        return not self.learned_positions and self.form != "qwen2"

    @property
    def is_gslms(self) -> bool:
        """Whether the architecture is GSLM's, in any size."""
        return self.to_dict().keys() == SHAPE

    @property
    def kv_width(self) -> int:
        """Width of the keys of all heads, and of the values."""
        return self.dim // self.heads * (self.kv_heads or self.heads)

    def activation_bytes(self, dtype: torch.dtype) -> int:
        """Memory that training takes for one token: what is kept for the gradient."""
        ffn = 3 * self.ffn if self.form == "qwen2" else self.ffn
        return self.layers * (14 * self.dim + ffn) * dtype.itemsize

    def cache_bytes(self, dtype: torch.dtype) -> int:
        """Memory that one token takes while answers are decoded: its keys and values."""
        return self.layers * 2 * self.kv_width * dtype.itemsize

    def to_dict(self) -> dict[str, Any]:
        """The fields as metadata: the shape, and what differs from GSLM's."""
        usual = {field.name: field.default for field in fields(self) if field.name not in SHAPE}
        own = asdict(self).items()
        return {name: value for name, value in own if name in SHAPE or value != usual[name]}


class UnitLM(nn.Module):
    """The unit language model.

    Args:
        config: shape of the model.
        dropout: dropout of embeddings and residual branches, in training mode only.
    """

    positions: Tensor | None
    frequencies: Tensor | None
    projections: Tensor | None

    def __init__(self, config: LMConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.dropout = dropout
        self.embed = nn.Parameter(torch.empty(config.n_symbols, config.dim))
        nn.init.normal_(self.embed, std=config.dim**-0.5)
        with torch.no_grad():
            self.embed[PAD].zero_()
        self.layers = nn.ModuleList(build_layer(config) for _ in range(config.layers))
        self.norm = None if config.form == "opt-350m" else build_norm(config)
        if config.learned_positions:
            self.positions = nn.Parameter(torch.empty(config.max_positions, config.dim))
            nn.init.normal_(self.positions, std=config.dim**-0.5)
        else:
            table = _sinusoids(config) if config.has_sinusoids else None
            self.register_buffer("positions", table, persistent=False)
        rotary = _frequencies(config) if config.form == "qwen2" else None
        self.register_buffer("frequencies", rotary, persistent=False)
        self.head = None if config.tied else nn.Parameter(self.embed.detach().clone())
        self.register_buffer("projections", None, persistent=False)

    @property
    def decoder_layers(self) -> list[Layer]:
        """The layers, from the input on."""
        return cast("list[Layer]", list(self.layers))

    @property
    def scale(self) -> float:
        """The factor on every token embedding."""
        return math.sqrt(self.config.dim)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the layers' weights."""
        return self.decoder_layers[0].qkv.weight.dtype

    def freeze(self, dtype: torch.dtype = torch.float32) -> UnitLM:
        """Freeze every weight and store it in ``dtype``; embeddings stay float32.

        The projections of all layers become parts of one tensor, so that the prompts of all layers
        are projected at once.
        """
        self.requires_grad_(False).eval()
        for module in (*self.layers.modules(), *([] if self.norm is None else [self.norm])):
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
        turns = self._turns(pack.positions, x.dtype)
        x = drop(x, p)
        deep = self.project_prompt(prompt, x.dtype)
        for i, layer in enumerate(self.decoder_layers):
            last = i == len(self.layers) - 1
            wanted = pack.wanted if last else None
            if i == 0 and not self.embed.requires_grad and torch.is_grad_enabled():
                q, kv = _project_for_free(free, layer, x, turns, wanted)
            else:
                q, kv = layer.project(x, turns, wanted)
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
        return self._finish(x)

    def project_prompt(self, prompt: PromptTensors, dtype: torch.dtype) -> dict[int, Tensor]:
        """Project deep prompt rows: by layer (L, 2K) keys beside values, without positions."""
        if prompt.keys is None or prompt.values is None:
            return {}
        layers = [self.decoder_layers[i] for i in prompt.layers]
        if self.projections is not None and len(layers) == len(self.layers):
            weight = self.projections
        else:
            weight = in_type(dtype, torch.stack([layer.qkv.weight for layer in layers]))
        bias = in_type(dtype, torch.stack([layer.qkv.bias for layer in layers]))
        # Those of keys and values: (layers, D, K) and (layers, 1, K).
        _, *weights = weight.mT.split(layers[0].widths, dim=2)
        _, *biases = bias[:, None].split(layers[0].widths, dim=2)
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
        turns = self._turns(pack.positions, x.dtype)
        found = [x]
        for layer in self.decoder_layers:
            found.append(layer.normed(x))
            q, kv = layer.project(x, turns)
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
        x = in_type(cache.layers[0].dtype, self._placed(x * self.scale, positions)).flatten(0, 1)
        turns = self._turns(positions.flatten(), x.dtype)
        masks = cache.open(n, members)
        for i, layer in enumerate(self.decoder_layers):
            if shifts is not None:
                own = shifts[i] if shift_of is None else F.embedding(shift_of, shifts[i])
                x = (x.unflatten(0, (-1, n)) + in_type(x.dtype, own)).flatten(0, 1)
            q, kv = layer.project(x, turns)
            kv = cache.append(i, layer.split_heads(kv, len(positions)))
            x = layer.finish(x, layer.attend(q, kv, masks[cache.starts[i]]), p)
        cache.close(n)
        return self._finish(x).unflatten(0, (-1, n))

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every symbol, float32: (M, n_symbols)."""
        return F.linear(hidden, self.embed if self.head is None else self.head)

    def _finish(self, x: Tensor) -> Tensor:
        """Hidden states after the final norm, if there is one, float32."""
        return in_type(torch.float32, x if self.norm is None else norm(self.norm, x))

    def _placed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Scaled embeddings with those of their positions, which rotary ones do not have."""
        return x if self.positions is None else x + self.positions[positions]

    def _turns(self, positions: Tensor, dtype: torch.dtype) -> Tensor | None:
        """Cosines and sines (N, 2, D / H / 2) of rotary positions (N,)."""
        if self.frequencies is None:
            return None
        angles = positions[:, None] * self.frequencies
        return in_type(dtype, torch.stack((angles.cos(), angles.sin()), dim=1))

    def _embed(self, pack: Pack, prompt: PromptTensors) -> tuple[Tensor, Tensor]:
        """Input rows (N, D) and the indices of those that come from the prompt."""
        x = F.embedding(pack.tokens, self.embed) * self.scale
        x = self._placed(x, pack.positions)
        free = [pack.prompt_rows]
        if prompt.separator is not None:
            index = pack.separators
            separator = prompt.separator
            if pack.owner is not None:
                separator = separator[pack.owner[index]]
            own = self._placed(separator * self.scale, pack.positions[index])
            x = x.index_copy(0, index, own.expand(len(index), -1))
            free.append(index)
        if prompt.rows is not None:
            index = pack.prompt_rows
            x = x.index_copy(0, index, F.embedding(pack.prompt_numbers, prompt.rows))
        return in_type(pack.dtype, x), torch.cat(free)


def _project_for_free(
    free: Tensor, layer: Layer, x: Tensor, turns: Tensor | None, wanted: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The first layer's projections, of which only the free rows receive a gradient."""
    with torch.no_grad():
        q, kv = layer.project(x, turns)
    own_turns = None if turns is None else turns.index_select(0, free)
    own_q, own_kv = layer.project(x.index_select(0, free), own_turns)
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


def _frequencies(config: LMConfig) -> Tensor:
    """Radians by which each pair of dimensions turns from one rotary position to the next."""
    width = config.dim // config.heads
    return 1 / config.rotary_base ** (torch.arange(0, width, 2).float() / width)
