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

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechprompt.lm.dictionary import SEPARATOR
from speechprompt.lm.pack import Gather, Memory, Pack
from speechprompt.runtime.device import to_device

__all__ = ["pack", "pack_padded"]

# Prefixes are looked for in the first tokens only, since utterances that begin alike soon differ.
_SHARED = 64


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

    first = np.full(n, start) if wanted_from is None else np.asarray(wanted_from)
    wanted_slot, wanted = _wanted_tables(row, lengths, first, start, n_rows)

    def memory(gather: Gather, skip: int) -> Memory:
        return _memory(gather, lengths, wanted_slot, (skip, start, width), dtype)

    # In this order, the slot that owns a row is the first of its slots.
    starts = np.flatnonzero(own[used])
    deep = plain = memory(Gather.of(row, place[used], starts), start)
    n_prompt = max(0, -int(slots.min()))  # rows of all prompts together
    inside = prompt[:, asked]
    mixed = bool(inside.any())
    if n_prompt:
        index = np.concatenate((-1 - slots[:, :start], row + n_prompt), axis=1)
        if mixed:
            index[:, asked][inside] = -1 - slots[:, asked][inside]
        if rows:  # the rows of an input prompt do not count where deep rows stand in their place
            used = used & ~inside[order].T
            starts = _starts(np.bincount(number[used], minlength=n_rows))
        places, prompt_starts = _places_by_row(index, prompt, n_prompt)
        starts = np.concatenate((prompt_starts, starts + len(places)))
        places = np.concatenate((places, (place + order * start + start)[used]))
        deep = memory(Gather.of(index, places, starts), 0)

    tokens = slots[:, asked].ravel()[own_places]
    positions = np.repeat(np.arange(width - start), own.sum(axis=1))
    if mixed:
        positions -= np.cumsum(inside, axis=1).ravel()[own_places]
    arrays: dict[str, Any] = {
        "tokens": np.maximum(tokens, 0),
        "positions": np.where(tokens < 0, 0, positions),
        "separators": np.flatnonzero(tokens == SEPARATOR),
        "prompt_rows": np.flatnonzero(tokens < 0),
        "prompt_numbers": -1 - tokens[tokens < 0],
        "next_position": lengths - prompt_lengths,
        "owner": None if owners is None else np.repeat(owners, width - start)[own_places],
    }
    packed = Pack(
        spread=Gather.of(row, own_places, np.arange(n_rows)),
        collect=_collect(own_places, row),
        plain=plain,
        deep=deep,
        **arrays,
        **wanted,
    )
    return _to_tensors(packed, device)


def _wanted_tables(
    row: np.ndarray, lengths: np.ndarray, first: np.ndarray, start: int, n_rows: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """The wanted slots (B, W), and what a pack says of them, by its attributes.

    Args:
        row: (B, T) row of each slot from ``start`` on.
        lengths: (B,) slots of each line.
        first: (B,) the first wanted slot of each line.
        start: the first slot that has a row.
        n_rows: number of rows.
    """
    slot = first[:, None] + np.arange((lengths - first).max())
    valid = slot < lengths[:, None]
    slot = np.where(valid, slot, start + row.shape[1] - 1)
    line, nth = valid.nonzero()
    wanted, index, places = _wanted_rows(row[line, slot[line, nth] - start], valid, n_rows)
    return slot, {
        "wanted": wanted,
        "wanted_spread": Gather.of(index, places, np.arange(len(wanted))),
        "wanted_collect": _collect(places, index),
        "answers": index[valid],
        "lines": line,
        "places": nth,
    }


def _memory(
    gather: Gather,
    lengths: np.ndarray,
    wanted_slot: np.ndarray,
    slots: tuple[int, int, int],
    dtype: torch.dtype,
) -> Memory:
    """The memory of one kind of layer, whose first slot, first query and end ``slots`` has."""
    skip, start, width = slots
    slot = np.arange(width)
    arrays: dict[str, Any] = {
        "lengths": lengths - skip,
        "slots": slot[skip:],
        "queries": slot[None, None, start:, None],
        "wanted": wanted_slot[:, None, :, None],
    }
    return Memory(gather, dtype=dtype, **arrays)


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
    return Gather.of(places, row.ravel()[owns], _starts(owns))


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
