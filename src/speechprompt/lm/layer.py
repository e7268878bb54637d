"""One layer of the unit LM, and the arithmetic that it shares with the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from speechprompt.lm.model import LMConfig

__all__ = ["Layer", "drop", "in_type", "norm"]


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
        h = norm(self.attention_norm, x)
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
        x = x + drop(_linear(self.out, mixed), dropout)
        h = _linear(self.fc1, norm(self.ffn_norm, x)).relu_()
        return x + drop(_linear(self.fc2, h), dropout)


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


def norm(module: nn.LayerNorm, x: Tensor) -> Tensor:
    """LayerNorm in the number type of the activations."""
    weight, bias = _cast(module, x.dtype)
    return F.layer_norm(x, x.shape[-1:], weight, bias, module.eps)


def _cast(module: nn.Linear | nn.LayerNorm, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A module's weight and bias in the activations' number type."""
    return in_type(dtype, module.weight), in_type(dtype, module.bias)


def in_type(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    """A tensor in a number type; asking torch for what is there already would cost a call."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def drop(x: Tensor, share: float) -> Tensor:
    """Dropout, if there is any."""
    return F.dropout(x, share) if share else x
