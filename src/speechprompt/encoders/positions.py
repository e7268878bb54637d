"""WavLM's gated relative position bias (Chen et al., 2022, section III-B).

To the score of a query and a key is added a number that depends on their distance and the head. It
is multiplied by a gate that depends on the query.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.models.wav2vec2 import components

__all__ = ["Distances", "Gate", "GatedAttention", "attend_by_distance"]

# Queries whose scores are computed at a time, which bounds the memory of a long utterance.
QUERIES = 256
# A gate is computed from two sums of so many projections each.
PROJECTIONS = 4


class GatedAttention(components.SelfAttention):
    """The weights of an attention, in transformers' names.

    Args:
        dim: Width of the model.
        heads: Number of heads.
        distances: Number of buckets and the largest distance, for the layer that has them.
    """

    def __init__(self, dim: int, heads: int, distances: tuple[int, int] | None) -> None:
        super().__init__(dim, heads)
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.gru_rel_pos_linear = nn.Linear(dim // heads, 2 * PROJECTIONS)
        if distances is not None:
            n_buckets, self.max_distance = distances
            self.rel_attn_embed = nn.Embedding(n_buckets, heads)


class Distances:
    """The number that each head adds for a distance.

    Args:
        first: The attention of the first layer.
    """

    def __init__(self, first: GatedAttention) -> None:
        self.embedding, self.max_distance = first.rel_attn_embed.weight, first.max_distance

    def bias(self, length: int) -> Tensor:
        """``[heads, 2 * length - 1]`` for keys from ``1 - length`` to ``length - 1`` frames on."""
        distances = torch.arange(1 - length, length, device=self.embedding.device)
        return self.embedding[self._buckets(distances)].T

    def _buckets(self, distances: Tensor) -> Tensor:
        """Half of the buckets of a side are exact distances; the others grow as logarithms do."""
        n_buckets = len(self.embedding) // 2
        n_exact = n_buckets // 2
        side, distances = (distances > 0).long() * n_buckets, distances.abs()
        growth = torch.log(distances.float() / n_exact) / math.log(self.max_distance / n_exact)
        far = (n_exact + (growth * (n_buckets - n_exact)).clamp(min=0).long()).clamp(
            max=n_buckets - 1
        )
        return side + torch.where(distances < n_exact, distances, far)


class Gate:
    """A layer's gates, in float32.

    Args:
        attention: The layer's attention.
    """

    def __init__(self, attention: GatedAttention) -> None:
        linear = attention.gru_rel_pos_linear
        self.weight, self.bias = linear.weight, linear.bias
        self.constant = attention.gru_rel_pos_const.flatten()  # (heads,)
        self.heads = attention.num_heads

    def __call__(self, x: Tensor) -> Tensor:
        """Map the inputs (N, D) of the attention to gates (N, heads)."""
        projected = F.linear(x.unflatten(1, (self.heads, -1)).float(), self.weight, self.bias)
        a, b = projected.unflatten(2, (2, PROJECTIONS)).sum(dim=3).sigmoid().unbind(dim=2)
        return a * (b * self.constant - 1.0) + 2.0


def attend_by_distance(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, gates: Tensor, bias: Tensor
) -> Tensor:
    """Attention (n, heads, T, D / heads) with the gated bias.

    Args:
        q: Queries, (n, heads, T, D / heads).
        k: Keys.
        v: Values.
        mask: Which keys are no padding, (n, 1, 1, T); None if all are.
        gates: (n, T, heads).
        bias: Result of :meth:`Distances.bias`.
    """
    length = q.shape[2]
    # Row r has the keys of query length - 1 - r.
    rows = bias.unfold(1, length, 1)
    parts = []
    for start in range(0, length, QUERIES):
        stop = min(start + QUERIES, length)
        # From the last query to the first, because a flipped bias would be a slow copy.
        own = rows[:, length - stop : length - start]  # (heads, queries, T)
        added = gates[:, start:stop].flip(1).transpose(1, 2)[..., None] * own
        if mask is not None:
            added = added.masked_fill(~mask, -math.inf)
        asked = q[:, :, start:stop].flip(2)
        mixed = F.scaled_dot_product_attention(asked, k, v, attn_mask=added.to(q.dtype))
        parts.append(mixed.flip(2))
    return torch.cat(parts, dim=2)
