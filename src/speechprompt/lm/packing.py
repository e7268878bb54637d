"""Packing a batch: every distinct prefix of its sequences is computed once, padding never.

The model is causal, so utterances that begin alike share their first hidden states: the packed
rows are the nodes of the batch's prefix tree. Matrix products, norms and residuals run over these
rows only; attention alone sees one line per utterance, through index tables into the rows.

A sequence is written in *slots*: dictionary ids, and for prompt row i the number ``-1 - i``. Prompt
slots are either hidden rows like any other (input prompts) or places that only hold a layer's
deep keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

__all__ = ["Memory", "Pack", "micro_batches", "pack"]


@dataclass(frozen=True)
class Memory:
    """What the attention of one kind of layer reads.

    Attributes:
        index: (B, S) rows of keys and values, deep prompt rows first, then the packed rows.
        mask: (1, 1, T, S) added to the scores of the query slots.
        wanted_mask: (B, 1, W, S) the same for the wanted slots.
        lengths: (B,) slots in use.
    """

    index: Tensor
    mask: Tensor
    wanted_mask: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Pack:
    """A batch as prefix tree rows and attention tables.

    Attributes:
        tokens: (N,) dictionary id, or -1 - i for row i of an input prompt.
        positions: (N,) index of the token in its sequence, not counting prompt rows.
        query: (B, T) row at each query slot; right-padded with any row.
        owner: (N,) the flat query slot (of B*T) whose attention result a row takes.
        plain: memory of the layers without deep rows.
        deep: memory of the layers with deep rows.
        wanted: (M,) rows whose hidden state is asked for.
        wanted_query: (B, W) index into ``wanted``; right-padded with 0.
        wanted_owner: (M,) the flat wanted slot (of B*W) a wanted row takes its result from.
        wanted_slot: (B, W) true where ``wanted_query`` is no padding.
        next_position: (B,) position of a token that would follow.
    """

    tokens: Tensor
    positions: Tensor
    query: Tensor
    owner: Tensor
    plain: Memory
    deep: Memory
    wanted: Tensor
    wanted_query: Tensor
    wanted_owner: Tensor
    wanted_slot: Tensor
    next_position: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """Type of the activations: that of the masks."""
        return self.plain.mask.dtype

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Pack:
        """Indices on a device, masks in the activations' type too."""

        def move(value: Tensor | Memory) -> Tensor | Memory:
            if isinstance(value, Memory):
                return Memory(*(move(getattr(value, field.name)) for field in fields(value)))
            return value.to(device, dtype) if value.is_floating_point() else value.to(device)

        return Pack(*(move(getattr(self, field.name)) for field in fields(self)))


def micro_batches(lengths: Sequence[int], order: Sequence[int], budget: int) -> list[list[int]]:
    """Cut a batch into pieces of similar lengths whose padded size stays within a token budget.

    Args:
        lengths: slots of every sequence of the corpus.
        order: the indices that make up the batch.
        budget: largest (longest length x utterances) of a piece; one utterance is always allowed.

    Returns:
        Lists of indices, by falling length.
    """
    pieces: list[list[int]] = []
    for index in sorted(order, key=lambda i: (-lengths[i], i)):
        if pieces and lengths[pieces[-1][0]] * (len(pieces[-1]) + 1) <= budget:
            pieces[-1].append(index)
        else:
            pieces.append([index])
    return pieces


def pack(
    sequences: Sequence[np.ndarray], wanted_from: Sequence[int] | None = None, rows: bool = False
) -> Pack:
    """Pack sequences of slots.

    Args:
        sequences: B arrays of slots; each holds the same prompt slots, if any.
        wanted_from: for each sequence the index of the first slot whose hidden state is wanted
            (all following ones are); None wants every one.
        rows: whether prompt slots are hidden rows (input prompts). Without, layers that have no
            deep rows see no prompt.

    Returns:
        The pack, on the CPU, with float32 masks.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    n, width = len(sequences), int(lengths.max())
    slots = np.zeros((n, width), np.int64)
    valid = np.arange(width) < lengths[:, None]
    slots[valid] = np.concatenate(sequences)
    prompt = valid & (slots < 0)
    length = int(prompt[0].sum())

    node, n_nodes = _prefix_tree(slots, valid)
    hidden = valid if rows else valid & ~prompt
    names, first = np.unique(np.where(hidden, node, -1).ravel(), return_index=True)
    first = first[names >= 0]
    row_of_node = np.zeros(n_nodes, np.int64)
    row_of_node[names[names >= 0]] = np.arange(len(first))
    row = np.where(hidden, row_of_node[node], 0)
    position = np.cumsum(~prompt, axis=1) - 1

    # Prompt slots in front need no queries of their own when they are no hidden rows.
    prefix = not rows and length > 0 and bool(prompt[:, :length].all())
    start = length if prefix else 0
    slot = np.arange(width)
    causal = _blocked(slot[None, :] > slot[start:, None])
    if wanted_from is None:
        wanted_from = np.full(n, start)
    wanted_width = int((lengths - wanted_from).max())
    wanted_slot = np.asarray(wanted_from)[:, None] + np.arange(wanted_width)
    wanted_valid = wanted_slot < lengths[:, None]
    wanted_slot = np.where(wanted_valid, wanted_slot, width - 1)
    wanted_row = np.take_along_axis(row, wanted_slot, axis=1)
    wanted, wanted_first, wanted_index = np.unique(
        np.where(wanted_valid, wanted_row, -1), return_index=True, return_inverse=True
    )
    padded = int(wanted[0] < 0)
    wanted_index = np.maximum(wanted_index.reshape(n, wanted_width) - padded, 0)
    seen = slot[None, None, :] > wanted_slot[:, :, None]

    return Pack(
        tokens=torch.from_numpy(slots.ravel()[first]),
        positions=torch.from_numpy(position.ravel()[first]),
        query=torch.from_numpy(row[:, start:].copy()),
        owner=torch.from_numpy(first - start * (first // width + 1)),
        plain=Memory(
            torch.from_numpy(row[:, start:].copy()),
            causal[None, None, :, start:].contiguous(),
            _blocked(seen[:, None, :, start:]),
            torch.from_numpy(lengths - start),
        ),
        deep=Memory(
            torch.from_numpy(np.where(prompt, -1 - slots, row + length)),
            causal[None, None],
            _blocked(seen[:, None]),
            torch.from_numpy(lengths),
        ),
        wanted=torch.from_numpy(wanted[padded:]),
        wanted_query=torch.from_numpy(wanted_index),
        wanted_owner=torch.from_numpy(wanted_first[padded:]),
        wanted_slot=torch.from_numpy(wanted_valid),
        next_position=torch.from_numpy(lengths - length),
    )


def _blocked(where: np.ndarray) -> Tensor:
    mask = torch.zeros(where.shape)
    return mask.masked_fill_(torch.from_numpy(where), float("-inf"))


def _prefix_tree(slots: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the distinct prefixes: (B, T) node of each slot, and how many there are."""
    node = np.zeros(slots.shape, np.int64)
    before = np.zeros(len(slots), np.int64)
    base = 0
    low = int(slots.min())
    span = int(slots.max()) - low + 1
    for t in range(slots.shape[1]):
        # Padding gets nodes too; nobody reads them.
        _, number = np.unique(before * span + slots[:, t] - low, return_inverse=True)
        number = number.reshape(-1)
        node[:, t] = base + number
        before = number
        base += int(number.max()) + 1
    node[~valid] = 0
    return node, base
