"""Packing a batch: every distinct prefix of its sequences is computed once, and padding never.

The model is causal, so utterances that begin alike share their first hidden states: the packed
rows are the nodes of the batch's prefix tree. Matrix products, norms and residuals run over these
rows only; attention alone sees one line per utterance, through index tables into the rows.

A sequence is written in *slots*: dictionary ids, and for prompt row i the number ``-1 - i``. Prompt
slots are either hidden rows like any other (input prompts) or places that only hold a layer's
deep keys and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechprompt.errors import CorpusError
from speechprompt.runtime.device import to_device

__all__ = ["Gather", "Memory", "Pack", "check_lengths", "micro_batches", "pack"]


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
    def of(cls, index: np.ndarray, n_rows: int, counts: np.ndarray) -> Gather:
        """Build a table from row numbers and flags of the places that count, of one shape."""
        index, counts = index.ravel(), counts.ravel()
        places = np.flatnonzero(counts)
        places = places[np.argsort(index[places], kind="stable")]
        starts = np.searchsorted(index[places], np.arange(n_rows))
        return cls(*map(torch.from_numpy, (index, places, starts)))

    def __call__(self, rows: Tensor) -> Tensor:
        """Copy rows (R, D) to places (K, D)."""
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


@dataclass(frozen=True)
class Memory:
    """What the attention of one kind of layer reads.

    Attributes:
        gather: copies deep prompt rows, then packed rows, to (B*S) keys and values.
        lengths: (B,) number of slots in use.
        slots: (S,) slot of each key and value.
        queries: (T,) slot of each query.
        wanted: (B, W) slot of each wanted query.
        dtype: type of the activations, and so of the masks.

    The masks are made on the device, when they are first read: they are far larger than what they
    are made of.
    """

    gather: Gather
    lengths: Tensor
    slots: Tensor
    queries: Tensor
    wanted: Tensor
    dtype: torch.dtype = torch.float32

    @cached_property
    def mask(self) -> Tensor:
        """(1, T, S) added to the scores of the query slots."""
        return self._later_than(self.queries[None])

    @cached_property
    def wanted_mask(self) -> Tensor:
        """(B, W, S) added to the scores of the wanted slots."""
        return self._later_than(self.wanted)

    def _later_than(self, queries: Tensor) -> Tensor:
        later = self.slots > queries[..., None]
        mask = torch.zeros(later.shape, dtype=self.dtype, device=later.device)
        return mask.masked_fill_(later, float("-inf"))


@dataclass(frozen=True)
class Pack:
    """A batch of B sequences as the N rows of its prefix tree, with the tables of its attention.

    Attributes:
        tokens: (N,) dictionary id, or -1 - i for row i of an input prompt.
        positions: (N,) index of the token in its sequence, not counting prompt rows.
        spread: copies rows to (B*T) query slots.
        collect: copies query slots back to rows.
        plain: memory of the layers without deep rows.
        deep: memory of the layers with deep rows.
        wanted: (M,) the rows whose last hidden state is wanted.
        wanted_spread: copies wanted rows to (B*W) wanted slots.
        wanted_collect: copies wanted slots back to wanted rows.
        wanted_slot: (B, W) false where a wanted slot is padding.
        next_position: (B,) position of a token that would follow.
        owner: (N,) number of the prompt that each row is read with; None where the batch has one
            prompt.
    """

    tokens: Tensor
    positions: Tensor
    spread: Gather
    collect: Gather
    plain: Memory
    deep: Memory
    wanted: Tensor
    wanted_spread: Gather
    wanted_collect: Gather
    wanted_slot: Tensor
    next_position: Tensor
    owner: Tensor | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the activations, which is that of the masks."""
        return self.plain.dtype

    @property
    def wanted_query(self) -> Tensor:
        """(B, W) index into the wanted rows; padding has any index."""
        return self.wanted_spread.index.view(self.wanted_slot.shape)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Pack:
        """Move the tables to a device, for activations of a number type."""
        return _moved(self, device, dtype)


def _moved(value: Any, device: torch.device | str, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return to_device(value, device)
    if isinstance(value, torch.dtype):
        return dtype
    if not is_dataclass(value) or isinstance(value, type):
        return value
    parts = (_moved(getattr(value, field.name), device, dtype) for field in fields(value))
    return type(value)(*parts)


def micro_batches(lengths: Sequence[int], order: Sequence[int], budget: int) -> list[list[int]]:
    """Cut a batch into micro-batches of similar lengths whose padded size stays within a budget.

    Args:
        lengths: number of slots of every sequence of the corpus.
        order: indices of the sequences in the batch.
        budget: most slots of a micro-batch, padding included; a single sequence may have more.

    Returns:
        Lists of indices, the longest sequences first.
    """
    pieces: list[list[int]] = []
    for index in sorted(order, key=lambda i: (-lengths[i], i)):
        if pieces and lengths[pieces[-1][0]] * (len(pieces[-1]) + 1) <= budget:
            pieces[-1].append(index)
        else:
            pieces.append([index])
    return pieces


def check_lengths(names: Iterable[str], needed: Iterable[int], max_positions: int) -> None:
    """Refuse a sequence that is longer than the unit LM reads.

    Args:
        names: what each sequence is called in the message.
        needed: positions that each needs.
        max_positions: positions that the unit LM has.

    Raises:
        CorpusError: naming the first such sequence.
    """
    for name, n in zip(names, needed, strict=True):
        if n > max_positions:
            raise CorpusError(
                f"{name} needs {n} positions, but the unit LM has {max_positions}; leave it out or "
                "use a unit LM with more (lm.max_positions)"
            )


def pack(
    sequences: Sequence[np.ndarray],
    wanted_from: Sequence[int] | None = None,
    rows: bool = False,
    owners: Sequence[int] | None = None,
) -> Pack:
    """Pack sequences of slots.

    Args:
        sequences: B arrays of slots; each holds the same prompt slots, if any, or with ``owners``
            those of its prompt.
        wanted_from: for each sequence the index of the first slot whose hidden state is wanted
            (all following ones are); None wants every one.
        rows: whether prompt slots are hidden rows (input prompts). Without, layers that have no
            deep rows see no prompt.
        owners: for each sequence the number of its prompt, where a batch has several prompts. All
            their rows are deep rows in every layer and are numbered one after the other, because a
            layer without deep rows could not skip prompts of different lengths.

    Returns:
        The pack, on the CPU, for float32 activations.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    n, width = len(sequences), int(lengths.max())
    slots = np.zeros((n, width), np.int64)
    valid = np.arange(width) < lengths[:, None]
    slots[valid] = np.concatenate(sequences)
    prompt = valid & (slots < 0)
    prompt_lengths = prompt.sum(axis=1)
    length = int(prompt_lengths.min())
    n_prompt = max(0, -int(slots.min()))  # rows of all prompts together

    node, n_nodes = _prefix_tree(slots, valid)
    hidden = valid if rows else valid & ~prompt
    names, first = np.unique(np.where(hidden, node, -1).ravel(), return_index=True)
    first = first[names >= 0]
    n_rows = len(first)
    row_of_node = np.zeros(n_nodes, np.int64)
    row_of_node[names[names >= 0]] = np.arange(n_rows)
    row = np.where(hidden, row_of_node[node], 0)
    owns = np.zeros(slots.shape, bool)
    owns.flat[first] = True

    # Prompt slots in front need no queries of their own where they are not hidden rows.
    prefix = not rows and length > 0 and bool(prompt[:, :length].all())
    start = length if prefix else 0
    slot = np.arange(width)
    asked_from = np.full(n, start) if wanted_from is None else np.asarray(wanted_from)
    wanted_slot = asked_from[:, None] + np.arange(max(lengths - asked_from))
    wanted_valid = wanted_slot < lengths[:, None]
    wanted_slot = np.where(wanted_valid, wanted_slot, width - 1)
    wanted_row = np.where(wanted_valid, np.take_along_axis(row, wanted_slot, axis=1), -1)
    wanted, wanted_first, index = np.unique(wanted_row, return_index=True, return_inverse=True)
    padded = int(wanted[0] < 0)
    wanted, wanted_first = wanted[padded:], wanted_first[padded:]
    wanted_index = np.maximum(index.reshape(wanted_row.shape) - padded, 0)
    wanted_owns = np.zeros(wanted_row.shape, bool)
    wanted_owns.flat[wanted_first] = True

    def memory(index: np.ndarray, used: np.ndarray, n: int, skip: int) -> Memory:
        return Memory(
            gather=Gather.of(index[:, skip:], n, used[:, skip:]),
            lengths=torch.from_numpy(lengths - skip),
            slots=torch.from_numpy(slot[skip:]),
            queries=torch.from_numpy(slot[start:]),
            wanted=torch.from_numpy(wanted_slot),
        )

    deep = np.where(prompt, -1 - slots, row + n_prompt)
    return Pack(
        tokens=torch.from_numpy(slots.ravel()[first]),
        positions=torch.from_numpy((np.cumsum(~prompt, axis=1) - 1).ravel()[first]),
        spread=Gather.of(row[:, start:], n_rows, owns[:, start:]),
        collect=_collect(owns[:, start:], row[:, start:]),
        plain=memory(row, hidden, n_rows, start),
        deep=memory(deep, valid, n_prompt + n_rows, 0),
        wanted=torch.from_numpy(wanted),
        wanted_spread=Gather.of(wanted_index, len(wanted), wanted_owns),
        wanted_collect=_collect(wanted_owns, wanted_index),
        wanted_slot=torch.from_numpy(wanted_valid),
        next_position=torch.from_numpy(lengths - prompt_lengths),
        owner=None if owners is None else torch.from_numpy(np.repeat(owners, width)[first]),
    )


def _collect(owns: np.ndarray, row: np.ndarray) -> Gather:
    """The table from slots to rows; each row takes the slot that owns it."""
    places = np.flatnonzero(owns)
    owner = np.empty(len(places), np.int64)
    owner[row.ravel()[places]] = places
    return Gather.of(owner, owns.size, np.ones(len(owner), bool))


def _prefix_tree(slots: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the distinct prefixes: (B, T) node of each slot from 1, 0 for padding, and one more.

    Sequences that begin alike stand together once they are sorted. Each then has nodes of its own
    from where it differs from the one before, and shares that one's until there. Nodes are numbered
    by position, and at one position in the order of their prefixes.
    """
    # Big-endian, so that the order of the bytes is that of the numbers; 0 is padding.
    sequences = np.where(valid, slots - slots.min() + 1, 0).astype(">u4")
    as_bytes = sequences.view(f"V{sequences.itemsize * sequences.shape[1]}")[:, 0]
    order = np.argsort(as_bytes, kind="stable")
    sequences = sequences[order]
    shared = np.zeros(slots.shape, bool)
    shared[1:] = np.logical_and.accumulate(sequences[1:] == sequences[:-1], axis=1)
    own = ~shared & valid[order]
    number = np.where(own, np.cumsum(own.T).reshape(own.T.shape).T, 0)
    node = np.empty_like(number)
    node[order] = np.maximum.accumulate(number, axis=0)
    return np.where(valid, node, 0), int(own.sum()) + 1
