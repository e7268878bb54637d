"""Packing a batch: a prefix that sequences share is computed once, and padding never.

The model is causal, so utterances that begin alike share their first hidden states: the packed
rows are the nodes of the batch's prefix tree. Matrix products, norms and residuals run over these
rows only; attention alone sees one line per utterance, through index tables into the rows.

All tables follow from one order of the slots: by position, and at one position in the order of the
sorted lines. In this order the rows are numbered, and slots of one row stand together, so that
nothing has to be sorted but the lines.

A sequence is written in *slots*: dictionary ids, and for prompt row i the number ``-1 - i``. Prompt
slots are either hidden rows like any other (input prompts) or places that only hold a layer's
deep keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechprompt.errors import CorpusError
from speechprompt.lm.dictionary import SEPARATOR
from speechprompt.runtime.device import to_device

__all__ = ["Gather", "Memory", "Pack", "check_lengths", "micro_batches", "pack", "pack_padded"]

# Prefixes are looked for in the first tokens only, since utterances that begin alike soon differ.
_SHARED = 64


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
    def of(cls, index: np.ndarray, places: np.ndarray, rows: np.ndarray, n_rows: int) -> Gather:
        """Build a table.

        Args:
            index: the row of each place.
            places: the places that count, sorted by row.
            rows: the row of each of these.
            n_rows: number of rows.
        """
        counts = np.bincount(rows, minlength=n_rows)
        starts = np.cumsum(counts) - counts
        return cls(*map(torch.from_numpy, (index.ravel(), places, starts)))

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
        """(1, 1, T, S) added to the scores of the query slots."""
        return self._later_than(self.queries[None])

    @cached_property
    def wanted_mask(self) -> Tensor:
        """(B, 1, W, S) added to the scores of the wanted slots."""
        return self._later_than(self.wanted)

    def _later_than(self, queries: Tensor) -> Tensor:
        later = self.slots > queries[:, None, :, None]
        mask = torch.zeros(later.shape, dtype=self.dtype, device=later.device)
        return mask.masked_fill_(later, float("-inf"))


@dataclass(frozen=True)
class Pack:
    """A batch of B sequences as the N rows of its prefix tree, with the tables of its attention.

    Attributes:
        tokens: (N,) dictionary id, or -1 - i for row i of an input prompt.
        positions: (N,) index of the token in its sequence, not counting prompt rows.
        separators: the rows that are a separator.
        prompt_rows: the rows that are of an input prompt.
        spread: copies rows to (B*T) query slots.
        collect: copies query slots back to rows.
        plain: memory of the layers without deep rows.
        deep: memory of the layers with deep rows.
        wanted: (M,) the rows whose last hidden state is wanted.
        wanted_spread: copies wanted rows to (B*W) wanted slots.
        wanted_collect: copies wanted slots back to wanted rows.
        wanted_slot: (B, W) false where a wanted slot is padding.
        lines, places: (A,) line, and place among the line's wanted slots, of each that is not.
        next_position: (B,) position of a token that would follow.
        owner: (N,) number of the prompt that each row is read with; None where the batch has one
            prompt.
    """

    tokens: Tensor
    positions: Tensor
    separators: Tensor
    prompt_rows: Tensor
    spread: Gather
    collect: Gather
    plain: Memory
    deep: Memory
    wanted: Tensor
    wanted_spread: Gather
    wanted_collect: Gather
    wanted_slot: Tensor
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
        """(B, W) index into the wanted rows; padding has any index."""
        return self.wanted_spread.index.view(self.wanted_slot.shape)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Pack:
        """Move the tables to a device, for activations of a number type.

        They travel as one tensor, because every copy to a GPU has a cost of its own.
        """
        found: dict[int, Tensor] = {}
        _walk(self, lambda tensor: found.setdefault(id(tensor), tensor))
        if torch.device(device) != self.tokens.device:
            whole = to_device(
                torch.cat([tensor.flatten().long() for tensor in found.values()]), device
            )
            parts = whole.split([tensor.numel() for tensor in found.values()])
            for (key, tensor), part in zip(found.items(), parts, strict=True):
                found[key] = part.view(tensor.shape).to(tensor.dtype)
        return _walk(self, lambda tensor: found[id(tensor)], dtype)


def _walk(value: Any, change: Callable[[Tensor], Tensor], dtype: torch.dtype | None = None) -> Any:
    """A pack or a part of it with other tensors and number type; a part that stands twice is one."""
    done: dict[int, Any] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        if isinstance(value, torch.dtype):
            return dtype or value
        if not is_dataclass(value) or isinstance(value, type):
            return value
        if id(value) not in done:
            parts = [walk(getattr(value, field.name)) for field in fields(value)]
            done[id(value)] = type(value)(*parts)
        return done[id(value)]

    return walk(value)


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
    """Pack sequences of slots; see :func:`pack_padded`."""
    lengths = np.array([len(sequence) for sequence in sequences])
    slots = np.zeros((len(lengths), lengths.max()), np.int64)
    slots[np.arange(slots.shape[1]) < lengths[:, None]] = np.concatenate(sequences)
    return pack_padded(slots, lengths, wanted_from, rows, owners)


def pack_padded(
    slots: np.ndarray,
    lengths: np.ndarray,
    wanted_from: Sequence[int] | np.ndarray | None = None,
    rows: bool = False,
    owners: Sequence[int] | None = None,
) -> Pack:
    """Pack sequences of slots that are padded with zeros.

    Args:
        slots: (B, T) each line holds the same prompt slots, if any, or with ``owners`` those of its
            prompt.
        lengths: (B,) slots of each line.
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
    n, width = slots.shape
    valid = np.arange(width) < lengths[:, None]
    prompt = valid & (slots < 0)
    prompt_lengths = prompt.sum(axis=1)
    # Prompt slots in front need no queries of their own where they are not hidden rows.
    start = int(prompt_lengths.min())
    if rows or not prompt[:, :start].all():
        start = 0
    asked = slice(start, None)
    hidden = (valid if rows else valid & ~prompt)[:, asked]
    order, shared = _sort_lines(slots[:, asked], valid[:, asked], int(prompt_lengths.max()), owners)

    # By position, then by sorted line: (T, B).
    used = hidden[order].T
    own = used & ~shared
    number = np.maximum(np.cumsum(own.ravel()).reshape(own.shape) - 1, 0)
    n_rows = int(own.sum())
    row = np.empty(hidden.shape, np.int64)
    row[order] = number.T
    own_places = _places(order, own, width - start)

    deep = plain = Gather.of(row, _places(order, used, width - start), number[used], n_rows)
    n_prompt = max(0, -int(slots.min()))  # rows of all prompts together
    if n_prompt:
        index = np.concatenate((np.zeros((n, start), np.int64), row + n_prompt), axis=1)
        index[prompt] = -1 - slots[prompt]
        first = np.flatnonzero(prompt)
        first = first[
            np.argsort(index.ravel()[first].astype(np.min_scalar_type(n_prompt)), kind="stable")
        ]
        used = used & ~prompt[order, asked].T
        places = np.concatenate((first, _places(order, used, width, start)))
        deep = Gather.of(index, places, index.ravel()[places], n_prompt + n_rows)

    first_wanted = np.full(n, start) if wanted_from is None else np.asarray(wanted_from)
    wanted_slot = first_wanted[:, None] + np.arange((lengths - first_wanted).max())
    wanted_valid = wanted_slot < lengths[:, None]
    wanted_slot = np.where(wanted_valid, wanted_slot, width - 1)
    line, place = wanted_valid.nonzero()
    wanted, wanted_index, wanted_places = _wanted_rows(
        row[line, wanted_slot[line, place] - start], wanted_valid, n_rows
    )

    def memory(gather: Gather, skip: int) -> Memory:
        return Memory(
            gather,
            lengths=torch.from_numpy(lengths - skip),
            slots=torch.arange(skip, width),
            queries=torch.arange(start, width),
            wanted=torch.from_numpy(wanted_slot),
        )

    tokens = slots[:, asked].ravel()[own_places]
    position = np.cumsum(~prompt[:, asked], axis=1) - 1
    plain_memory = memory(plain, start)
    return Pack(
        tokens=torch.from_numpy(tokens),
        positions=torch.from_numpy(position.ravel()[own_places]),
        separators=torch.from_numpy(np.flatnonzero(tokens == SEPARATOR)),
        prompt_rows=torch.from_numpy(np.flatnonzero(tokens < 0)),
        spread=Gather.of(row, own_places, np.arange(n_rows), n_rows),
        collect=_collect(own_places, row),
        plain=plain_memory,
        deep=memory(deep, 0) if n_prompt else plain_memory,
        wanted=torch.from_numpy(wanted),
        wanted_spread=Gather.of(wanted_index, wanted_places, np.arange(len(wanted)), len(wanted)),
        wanted_collect=_collect(wanted_places, wanted_index),
        wanted_slot=torch.from_numpy(wanted_valid),
        lines=torch.from_numpy(line),
        places=torch.from_numpy(place),
        next_position=torch.from_numpy(lengths - prompt_lengths),
        owner=None
        if owners is None
        else torch.from_numpy(np.repeat(owners, width - start)[own_places]),
    )


def _sort_lines(
    slots: np.ndarray, valid: np.ndarray, n_prompt: int, owners: Sequence[int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sort lines so that those that begin alike stand together.

    Returns:
        The order of the B lines, and (T, B) by position and sorted line: whether the line is the
        same up to there as the one before.
    """
    begin = slice(_SHARED + n_prompt)
    keys = np.where(valid[:, begin], slots[:, begin] - slots.min() + 1, 0)  # 0 is padding
    keys = np.column_stack((np.zeros(len(slots), int) if owners is None else owners, keys))
    # Big-endian, so that the order of the bytes is that of the numbers.
    keys = keys.astype(">u4")
    order = np.argsort(keys.view(f"V{4 * keys.shape[1]}")[:, 0], kind="stable")
    keys = keys[order].T
    same = np.logical_and.accumulate(keys[:, 1:] == keys[:, :-1], axis=0)
    shared = np.zeros(slots.T.shape, bool)
    shared[: len(keys) - 1, 1:] = same[1:]
    return order, shared


def _places(order: np.ndarray, chosen: np.ndarray, width: int, start: int = 0) -> np.ndarray:
    """Where the chosen slots (T, B), by position and sorted line, stand in lines of a width."""
    position, line = chosen.nonzero()
    return order[line] * width + position + start


def _collect(places: np.ndarray, row: np.ndarray) -> Gather:
    """The table from slots to rows; each row takes the slot that owns it."""
    owns = np.zeros(row.size, bool)
    owns[places] = True
    return Gather.of(places, row.ravel()[owns], np.flatnonzero(owns), row.size)


def _wanted_rows(
    rows: np.ndarray, valid: np.ndarray, n_rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the wanted rows.

    Args:
        rows: row of each wanted slot that is not padding.
        valid: (B, W) which wanted slots these are.
        n_rows: number of all rows.

    Returns:
        The wanted rows (M,), the number (B, W) of each slot's row among them, and the first slot
        (M,) of each.
    """
    first = np.full(n_rows, -1)
    first[rows[::-1]] = np.flatnonzero(valid)[::-1]
    wanted = np.flatnonzero(first >= 0)
    number = np.zeros(n_rows, np.int64)
    number[wanted] = np.arange(len(wanted))
    index = np.zeros(valid.shape, np.int64)
    index[valid] = number[rows]
    return wanted, index, first[wanted]
