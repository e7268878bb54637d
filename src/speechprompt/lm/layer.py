"""One layer of the unit LM, and the arithmetic that it shares with the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from speechprompt.lm.model import LMConfig

__all__ = ["Layer", "build_layer", "build_norm", "drop", "in_type", "norm"]


class Layer(nn.Module):
    """One decoder layer: x + attention(LN(x)), then x + FFN(LN(x)).

    Below, H is the number of heads, G that of the heads of keys and values, and K = D * G / H the
    width of all keys. G is H unless heads share their keys.
    """

    def __init__(self, config: LMConfig, bias: bool = True, fc1_parts: int = 1) -> None:
        super().__init__()
        d = config.dim
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        self.widths = (d, config.kv_width, config.kv_width)
        self.fc1_parts = fc1_parts
        self.attention_norm = build_norm(config)
        self.qkv = nn.Linear(d, sum(self.widths))
        self.out = nn.Linear(d, d, bias)
        self.ffn_norm = build_norm(config)
        self.fc1 = nn.Linear(d, fc1_parts * config.ffn, bias)
        self.fc2 = nn.Linear(config.ffn, d, bias)
        for weight in self.qkv.weight.split(self.widths):
            nn.init.xavier_uniform_(weight, gain=2**-0.5)
        for linear in (self.out, self.fc1, self.fc2):
            nn.init.xavier_uniform_(linear.weight)
        for linear in (self.qkv, self.out, self.fc1, self.fc2):
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def normed(self, x: Tensor) -> Tensor:
        """The inputs of the projections of residual rows (N, D)."""
        return norm(self.attention_norm, x)

    def project(
        self, x: Tensor, turns: Tensor | None = None, wanted: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Queries of the wanted rows (M, D), keys beside values (N, 2K) of residual rows (N, D).

        Queries and keys are turned by ``turns`` (N, 2, D / H / 2), if positions are rotary.
        """
        d, h = x.shape[1], self.normed(x)
        if wanted is None or len(wanted) == len(x):
            q, kv = _linear(self.qkv, h).split((d, 2 * self.widths[1]), dim=1)
        else:
            weight, bias = _cast(self.qkv, h.dtype)
            q = F.linear(h.index_select(0, wanted), weight[:d], bias[:d])
            kv = F.linear(h, weight[d:], bias[d:])
        if turns is None:
            return q, kv
        k, v = kv.chunk(2, dim=1)
        kv = torch.cat((_turn(k, turns), v), dim=1)
        own = turns if wanted is None else turns.index_select(0, wanted)
        return _turn(q, own), kv

    def split_heads(self, kv: Tensor, n: int) -> Tensor:
        """Keys beside values (B*S, 2K) of ``n`` = B lines, by heads: (B, 2, G, S, D / H)."""
        by_head = kv.view(n, -1, 2, self.kv_heads, kv.shape[1] // (2 * self.kv_heads))
        return by_head.permute(0, 2, 3, 1, 4)

    def attend(self, q: Tensor, kv: Tensor, mask: Tensor) -> Tensor:
        """Attend with queries (B*T, D) to keys and values (B, 2, G, S, D / H): (B*T, D).

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
            shared = self.kv_heads < self.heads
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=shared)
        return mixed.transpose(1, 2).reshape(shape)

    def finish(self, x: Tensor, mixed: Tensor, dropout: float = 0.0) -> Tensor:
        """Output projection and feed-forward network on the residual stream: (N, D)."""
        x = x + drop(_linear(self.out, mixed), dropout)
        h = _linear(self.fc1, norm(self.ffn_norm, x)).relu_()
        return x + drop(_linear(self.fc2, h), dropout)


class PostNormLayer(Layer):
    """The layer of OPT-350m: LN(x + attention(x)), then LN(x + FFN(x))."""

    def normed(self, x: Tensor) -> Tensor:
        return x

    def finish(self, x: Tensor, mixed: Tensor, dropout: float = 0.0) -> Tensor:
        x = norm(self.attention_norm, x + drop(_linear(self.out, mixed), dropout))
        h = _linear(self.fc1, x).relu_()
        return norm(self.ffn_norm, x + drop(_linear(self.fc2, h), dropout))


class GatedLayer(Layer):
    """The layer of Qwen2: RMSNorm, and a network with a gate, SiLU(Wx) * Vx."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__(config, bias=False, fc1_parts=2)

    def finish(self, x: Tensor, mixed: Tensor, dropout: float = 0.0) -> Tensor:
        x = x + drop(_linear(self.out, mixed), dropout)
        gate, h = _linear(self.fc1, norm(self.ffn_norm, x)).chunk(2, dim=1)
        return x + drop(_linear(self.fc2, F.silu(gate) * h), dropout)


FORMS = {"gslm": Layer, "opt-350m": PostNormLayer, "qwen2": GatedLayer}


def build_layer(config: LMConfig) -> Layer:
    """A layer of the model's form."""
    return FORMS[config.form](config)


def build_norm(config: LMConfig) -> nn.LayerNorm | nn.RMSNorm:
    """A norm of the model's form."""
    kind = nn.RMSNorm if config.form == "qwen2" else nn.LayerNorm
    return kind(config.dim, config.norm_epsilon)


def _turn(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the two halves of every head (N, H * D) by the angles of (N, 2, D / 2) cosines, sines.

    These are the rotary positions of Su et al. 2021 (arXiv 2104.09864), as transformers has them.
    """
    half = turns.shape[2]
    first, second = x.view(len(x), x.shape[1] // (2 * half), 2, half).unbind(2)
    cosine, sine = turns[:, None].unbind(2)
    halves = (first * cosine - second * sine, second * cosine + first * sine)
    return torch.stack(halves, dim=2).view(x.shape)


def _attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, block: int = 128) -> Tensor:
    """Attention by plain products: torch's fused kernel is several times slower in bf16 on a CPU.

    With a causal mask, which is one for all lines, a block of queries reads the keys up to its end.
    """
    q = q * q.shape[-1] ** -0.5
    if k.shape[1] < q.shape[1]:
        k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
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


def norm(module: nn.LayerNorm | nn.RMSNorm, x: Tensor) -> Tensor:
    """A norm in the number type of the activations."""
    if isinstance(module, nn.RMSNorm):
        return F.rms_norm(x, x.shape[-1:], in_type(x.dtype, module.weight), module.eps)
    weight, bias = _cast(module, x.dtype)
    return F.layer_norm(x, x.shape[-1:], weight, bias, module.eps)


def _cast(module: nn.Linear | nn.LayerNorm, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A module's weight and bias, if it has one, in the activations' number type."""
    bias = module.bias
    return in_type(dtype, module.weight), bias if bias is None else in_type(dtype, bias)


def in_type(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    """A tensor in a number type; asking torch for what is there already would cost a call."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def drop(x: Tensor, share: float) -> Tensor:
    """Dropout, if there is any."""
    return F.dropout(x, share) if share else x
