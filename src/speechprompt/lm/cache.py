"""The key/value cache, with which a sequence is read on token by token."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Cache"]


@dataclass
class Cache:
    """Keys and values of the sequences so far.

    New tokens stand at the same slot in all sequences, behind the longest of them, so that a step
    reads and writes memory in order.

    Attributes:
        room: number of free slots to keep for new tokens.
        layers: per layer keys and values (B, 2, H, S + room, D / H); S is the first slot for new
            tokens, which the mask has the key of.
        masks: by S (B, 1, 1, S + room), added to the scores: -inf where a slot is empty.
        starts: per layer S.
        used: number of new tokens so far.
        positions: (B,) position of the next token.
    """

    room: int
    layers: list[Tensor] = field(default_factory=list)
    masks: dict[int, Tensor] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    used: int = 0
    positions: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))

    def add(self, kv: Tensor, lengths: Tensor) -> None:
        """Append a layer's keys and values (B, 2, H, S, D / H), of which (B,) slots are in use."""
        start = kv.shape[3]
        self.layers.append(F.pad(kv, (0, 0, 0, self.room)))
        self.starts.append(start)
        if start not in self.masks:
            slot = torch.arange(start + self.room, device=kv.device)
            mask = torch.zeros(len(kv), 1, 1, len(slot), dtype=kv.dtype, device=kv.device)
            empty = slot >= lengths[:, None, None, None]
            self.masks[start] = mask.masked_fill_(empty, float("-inf"))

    def open(self, n: int) -> dict[int, Tensor]:
        """Use the next ``n`` free slots: by S the masks (B, 1, n, S + used) of their queries."""
        self.used += n
        opened = {}
        for start, mask in self.masks.items():
            end = start + self.used
            mask[..., end - n : end] = 0
            opened[start] = mask[..., :end]
            if n > 1:
                later = torch.full((n, n), float("-inf"), dtype=mask.dtype, device=mask.device)
                opened[start] = opened[start] + F.pad(later.triu(1), (end - n, 0))
        return opened

    def append(self, layer: int, kv: Tensor) -> Tensor:
        """Put a layer's keys and values (B, 2, H, n, D / H) in the opened slots; return all.

        Where a gradient is wanted, the cache keeps those of the source only.
        """
        end = self.starts[layer] + self.used
        before = end - kv.shape[3]
        if torch.is_grad_enabled():
            return torch.cat((self.layers[layer][:, :, :, :before], kv), dim=3)
        self.layers[layer][:, :, :, before:end] = kv
        return self.layers[layer][:, :, :, :end]

    def select(self, index: Tensor) -> Cache:
        """The cache of some of the sequences, in the order of ``index``."""
        layers = [kv.index_select(0, index) for kv in self.layers]
        masks = {start: mask.index_select(0, index) for start, mask in self.masks.items()}
        positions = self.positions.index_select(0, index)
        return Cache(self.room, layers, masks, self.starts, self.used, positions)

    def exchange(self, index: Tensor) -> Cache:
        """Select sequences as :meth:`select`, each from one that has the same source."""
        for kv, start in zip(self.layers, self.starts, strict=True):
            come = kv[:, :, :, start : start + self.used]
            come.copy_(come.index_select(0, index))
        return self
