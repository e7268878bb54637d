"""A packed batch: the rows that a model computes, and the tables by which attention reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Gather", "Memory", "Pack"]


@dataclass(frozen=True)
class Gather:
    """A table that copies rows to places, and its transpose for the gradient.

    Attributes:
        index: (K,) the row that is copied to each place.
        places: (E,) the places whose gradient counts, sorted by row.
        starts: (R,) index into ``places`` where those of each row begin.
    """

    index: Tensor
    places: Tensor
    starts: Tensor

    @classmethod
    def of(cls, index: Any, places: Any, starts: Any) -> Gather:
        """A table of arrays, which become tensors later; ``index`` may have any shape."""
        return cls(index.ravel(), places, starts)

    def __call__(self, rows: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Copy rows (R, D), behind those of a prompt if it is given, to places (K, D)."""
        rows = rows if prompt is None else torch.cat((prompt, rows))
        return _GatherRows.apply(rows, self.index, self.places, self.starts)


class _GatherRows(torch.autograd.Function):
    """index_select with a backward of one pass over the gradient instead of scattered additions."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, places: Tensor, starts: Tensor) -> Tensor:
        ctx.save_for_backward(places, starts)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        places, starts = ctx.saved_tensors
        return F.embedding_bag(places, gradient, starts, mode="sum"), None, None, None


# What copies rows, behind those of a prompt if one is given, to places.
Copy = Callable[..., Tensor]


@dataclass(frozen=True)
class Memory:
    """What the attention of one kind of layer reads.

    Attributes:
        gather: copies deep prompt rows, then packed rows, to (B*S) keys and values.
        lengths: (B,) number of slots in use.
        slots: (S,) slot of each key and value.
        queries: (1, 1, T, 1) slot of each query.
        wanted: (B, 1, W, 1) slot of each wanted query.
        dtype: type of the activations, and so of the masks.

    The masks are made on the device, when they are first read: they are far larger than what they
    are made of. On a GPU the mask of the query slots only says that attention is causal and that
    the last query sees the last key, so that torch's fused kernels need no mask in memory.
    """

    gather: Copy
    lengths: Tensor
    slots: Tensor
    queries: Tensor
    wanted: Tensor
    dtype: torch.dtype = torch.float32

    @cached_property
    def mask(self) -> Tensor:
        """(1, 1, T, S) added to the scores of the query slots."""
        if self.slots.device.type == "cuda":
            # Imported here, because it loads torch's compiler.
            from torch.nn.attention.bias import causal_lower_right

            return causal_lower_right(self.queries.numel(), self.slots.numel())
        return self._later_than(self.queries)

    @cached_property
    def wanted_mask(self) -> Tensor:
        """(B, 1, W, S) added to the scores of the wanted slots."""
        return self._later_than(self.wanted)

    def _later_than(self, queries: Tensor) -> Tensor:
        later = self.slots > queries
        mask = torch.zeros(later.shape, dtype=self.dtype, device=later.device)
        return mask.masked_fill_(later, float("-inf"))


@dataclass(frozen=True)
class Pack:
    """A batch of B sequences as the N rows of its prefix tree, with the tables of its attention.

    Attributes:
        tokens: (N,) dictionary id; any id for a row of an input prompt.
        positions: (N,) index of the token in its sequence, not counting prompt rows, which have 0.
        separators: the rows that are a separator.
        prompt_rows: the rows that are of an input prompt.
        prompt_numbers: which of the prompt's rows each of these is.
        spread: copies rows to (B*T) query slots.
        collect: copies query slots back to rows.
        plain: memory of the layers without deep rows.
        deep: memory of the layers with deep rows.
        wanted: (M,) the rows whose last hidden state is wanted.
        wanted_spread: copies wanted rows to (B*W) wanted slots.
        wanted_collect: copies wanted slots back to wanted rows.
        answers: (A,) index into the wanted rows of every wanted slot that is not padding, line by
            line.
        lines, places: (A,) its line, and its place among the line's wanted slots.
        next_position: (B,) position of a token that would follow.
        owner: (N,) number of the prompt that each row is read with; None where the batch has one
            prompt.
    """

    tokens: Tensor
    positions: Tensor
    separators: Tensor
    prompt_rows: Tensor
    prompt_numbers: Tensor
    spread: Copy
    collect: Copy
    plain: Memory
    deep: Memory
    wanted: Tensor
    wanted_spread: Copy
    wanted_collect: Copy
    answers: Tensor
    lines: Tensor
    places: Tensor
    next_position: Tensor
    owner: Tensor | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the activations, which is that of the masks."""
        return self.plain.dtype

    @property
    def wanted_query(self) -> Tensor:
        """(B, W) index into the wanted rows of a prefix tree; padding has any index."""
        assert isinstance(self.wanted_spread, Gather)
        return self.wanted_spread.index.view(len(self.next_position), -1)
