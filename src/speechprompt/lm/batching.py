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
        tokens: (N,) dictionary id; any id for a row of an input prompt.
        positions: (N,) index of the token in its sequence, not counting prompt rows.
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
    spread: Gather
    collect: Gather
    plain: Memory
    deep: Memory
    wanted: Tensor
    wanted_spread: Gather
    wanted_collect: Gather
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
        """(B, W) index into the wanted rows; padding has any index."""
        return self.wanted_spread.index.view(len(self.next_position), -1)


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
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Pack:
    """Pack sequences of slots; see :func:`pack_padded`."""
    lengths = np.array([len(sequence) for sequence in sequences])
    slots = np.zeros((len(lengths), lengths.max()), np.int64)
    slots[np.arange(slots.shape[1]) < lengths[:, None]] = np.concatenate(sequences)
    return pack_padded(slots, lengths, wanted_from, rows, owners, device, dtype)


def pack_padded(
    slots: np.ndarray,
    lengths: np.ndarray,
    wanted_from: Sequence[int] | np.ndarray | None = None,
    rows: bool = False,
    owners: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
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
        device: where the model is.
        dtype: number type of its activations.
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
    number = np.maximum(np.cumsum(own).reshape(own.shape) - 1, 0)
    place = order * (width - start) + np.arange(width - start)[:, None]
    own_places = place[own]
    n_rows = len(own_places)
    row = np.empty(hidden.shape, np.int64)
    row[order] = number.T

    # Where the slots of a row begin, in this order, one of them owns it.
    starts = np.flatnonzero(own[used])
    deep = plain = Gather(row.ravel(), place[used], starts)
    n_prompt = max(0, -int(slots.min()))  # rows of all prompts together
    inside = prompt[:, asked]
    mixed = bool(inside.any())
    if n_prompt:
        index = np.concatenate((-1 - slots[:, :start], row + n_prompt), axis=1)
        if mixed:
            index[:, asked][inside] = -1 - slots[:, asked][inside]
        if rows:
            used = used & ~inside[order].T
            starts = _starts(np.bincount(number[used], minlength=n_rows))
        place += order * start + start
        places, prompt_starts = _places_by_row(index, prompt, n_prompt)
        deep = Gather(
            index.ravel(),
            np.concatenate((places, place[used])),
            np.concatenate((prompt_starts, starts + len(places))),
        )

    first_wanted = np.full(n, start) if wanted_from is None else np.asarray(wanted_from)
    wanted_slot = first_wanted[:, None] + np.arange((lengths - first_wanted).max())
    wanted_valid = wanted_slot < lengths[:, None]
    wanted_slot = np.where(wanted_valid, wanted_slot, width - 1)
    line, place = wanted_valid.nonzero()
    wanted, wanted_index, wanted_places = _wanted_rows(
        row[line, wanted_slot[line, place] - start], wanted_valid, n_rows
    )

    def memory(gather: Gather, skip: int) -> Memory:
        kept = np.arange(skip, width)
        return Memory(gather, lengths - skip, kept, np.arange(start, width), wanted_slot, dtype)

    tokens = slots[:, asked].ravel()[own_places]
    positions = np.repeat(np.arange(width - start), own.sum(axis=1))
    if mixed:
        positions -= np.cumsum(inside, axis=1).ravel()[own_places]
    plain_memory = memory(plain, start)
    arrays = Pack(
        tokens=np.maximum(tokens, 0),
        positions=np.maximum(positions, 0),
        separators=np.flatnonzero(tokens == SEPARATOR),
        prompt_rows=np.flatnonzero(tokens < 0),
        prompt_numbers=-1 - tokens[tokens < 0],
        spread=Gather(row.ravel(), own_places, np.arange(n_rows)),
        collect=_collect(own_places, row),
        plain=plain_memory,
        deep=memory(deep, 0) if n_prompt else plain_memory,
        wanted=wanted,
        wanted_spread=Gather(wanted_index.ravel(), wanted_places, np.arange(len(wanted))),
        wanted_collect=_collect(wanted_places, wanted_index),
        answers=wanted_index[wanted_valid],
        lines=line,
        places=place,
        next_position=lengths - prompt_lengths,
        owner=None if owners is None else np.repeat(owners, width - start)[own_places],
    )
    return _to_tensors(arrays, device)


def _to_tensors(pack: Pack, device: torch.device | str) -> Pack:
    """The pack on a device, from one of arrays.

    They are parts of one tensor, because every copy to a GPU has a cost of its own.
    """
    arrays: list[np.ndarray] = []
    _walk(pack, arrays.append)
    whole = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    parts = to_device(whole, device).split([array.size for array in arrays])
    tensors = iter(zip(arrays, parts, strict=True))

    def next_tensor(_: np.ndarray) -> Tensor:
        array, part = next(tensors)
        return part.view(array.shape) if array.ndim > 1 else part

    return _walk(pack, next_tensor)


def _walk(pack: Pack, change: Callable[[np.ndarray], Any]) -> Pack:
    """A pack with something else for each array; a part that it has twice stays one."""
    done: dict[int, Any] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return change(value)
        if not is_dataclass(value) or isinstance(value, type):
            return value
        if id(value) not in done:
            parts = [walk(getattr(value, field.name)) for field in fields(value)]
            done[id(value)] = type(value)(*parts)
        return done[id(value)]

    return walk(pack)


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


def _places_by_row(
    row: np.ndarray, chosen: np.ndarray, n_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """The chosen places of a table (B, T) by row, and where those of each row begin."""
    places = np.flatnonzero(chosen)
    # Small numbers are sorted by counting.
    rows = row.ravel()[places].astype(np.min_scalar_type(n_rows))
    places = places[np.argsort(rows, kind="stable")]
    return places, _starts(np.bincount(rows, minlength=n_rows))


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts) - counts


def _collect(places: np.ndarray, row: np.ndarray) -> Gather:
    """The table from slots to rows; each row takes the slot that owns it."""
    owns = np.zeros(row.size, bool)
    owns[places] = True
    return Gather(places, row.ravel()[owns], _starts(owns))


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
