"""The key/value cache, with which a sequence is read on token by token."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from speechprompt.runtime.device import in_any_order

__all__ = ["Cache"]


@dataclass
class Cache:
    """Keys and values of the sequences so far.

    New tokens stand at the same slot in all sequences, behind the longest of them, so that a step
    reads and writes memory in order. Once :meth:`fix` was called, steps of one token read all slots
    and have the same form each, so that they can be replayed.

    Attributes:
        room: number of free slots to keep for new tokens.
        layers: per layer keys and values (B, 2, H, S + room, D / H); S is the first slot for new
            tokens, which the mask has the key of.
        masks: by S (B, 1, 1, S + room), added to the scores: -inf where a slot is empty.
        starts: per layer S.
        used: number of new tokens so far.
        positions: (B,) position of the next token.
        free: by S (1,) the first free slot, once the form of steps is fixed.
    """

    room: int
    layers: list[Tensor] = field(default_factory=list)
    masks: dict[int, Tensor] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    used: int = 0
    positions: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    free: dict[int, Tensor] = field(default_factory=dict)

    @property
    def is_fixed(self) -> bool:
        """Whether :meth:`fix` was called."""
        return bool(self.free)

    def add(self, kv: Tensor, lengths: Tensor) -> None:
        """Append a layer's keys and values (B, 2, H, S, D / H), of which (B,) slots are in use."""
        start = kv.shape[3]
        # torch's fused kernels copy a mask whose lines are no multiple of 16.
        room = self.room if kv.device.type == "cpu" else self.room + -(start + self.room) % 16
        self.layers.append(F.pad(kv, (0, 0, 0, room)))
        self.starts.append(start)
        if start not in self.masks:
            slot = torch.arange(start + room, device=kv.device)
            mask = torch.zeros(len(kv), 1, 1, len(slot), dtype=kv.dtype, device=kv.device)
            empty = slot >= lengths[:, None, None, None]
            self.masks[start] = mask.masked_fill_(empty, float("-inf"))

    def open(self, n: int, members: int = 1) -> dict[int, Tensor]:
        """Use the next ``n`` free slots: by S the masks (B, 1, n, S + used) of their queries.

        The slots are of so many continuations, which do not see each other.
        """
        if self.is_fixed:
            for start, mask in self.masks.items():
                mask.index_fill_(3, self.free[start], 0.0)
            return self.masks
        self.used += n
        opened = {}
        for start, mask in self.masks.items():
            end = start + self.used
            mask[..., end - n : end] = 0
            opened[start] = mask[..., :end]
            if n > 1:
                unseen = torch.full((n, n), float("-inf"), dtype=mask.dtype, device=mask.device)
                unseen = unseen.triu(1)
                if members > 1:
                    member = torch.arange(n, device=mask.device) // (n // members)
                    unseen.masked_fill_(member != member[:, None], float("-inf"))
                opened[start] = opened[start] + F.pad(unseen, (end - n, 0))
        return opened

    def append(self, layer: int, kv: Tensor) -> Tensor:
        """Put a layer's keys and values (B, 2, H, n, D / H) in the opened slots; return all.

        Where a gradient is wanted, the cache keeps those of the source only.
        """
        if self.is_fixed:
            with in_any_order():  # there is one place
                return self.layers[layer].index_copy_(3, self.free[self.starts[layer]], kv)
        end = self.starts[layer] + self.used
        before = end - kv.shape[3]
        if torch.is_grad_enabled():
            return torch.cat((self.layers[layer][:, :, :, :before], kv), dim=3)
        self.layers[layer][:, :, :, before:end] = kv
        return self.layers[layer][:, :, :, :end]

    def close(self, n: int) -> None:
        """End the step that opened ``n`` slots."""
        self.positions += n
        for slot in self.free.values():
            slot += n

    def fix(self) -> None:
        """Fix the form of the steps from now on; who replays them adds to ``used`` for each."""
        device = self.positions.device
        self.free = {
            start: torch.full((1,), start + self.used, device=device) for start in self.masks
        }

    def shrinks(self, n: int) -> bool:
        """Whether it pays to go on with ``n`` of the sequences only.

        Where steps have a fixed form, their record has to be made anew.
        """
        return 2 * n <= len(self.positions) if self.is_fixed else n < len(self.positions)

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
