"""Utterances whose rows stand in one padded tensor, for operations along time.

On a CPU these are utterances of equal length, so that nothing is padded and frames do not depend on
the batch. On an accelerator the start of an operation takes long, and they are of similar length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from speechprompt.runtime.device import to_device

__all__ = ["Group", "group_utterances"]

# On an accelerator, the longest utterance of a group is at most so many times as long as the first.
SIMILAR = 1.25


@dataclass(frozen=True)
class Group:
    """Consecutive utterances of a batch.

    Attributes:
        rows: where their rows (n, D) are among those of the batch.
        size: number of utterances.
        longest: rows of the longest.
        places: (n,) place of each row in the padded tensor (size * longest, D); None if nothing is
            padded.
        sources: (size * longest,) row of each place; padding has n, a row of zeros.
    """

    rows: slice
    size: int
    longest: int
    places: Tensor | None = None
    sources: Tensor | None = None

    @cached_property
    def mask(self) -> Tensor | None:
        """(size, 1, 1, longest) which keys are no padding; None if all are."""
        if self.sources is None:
            return None
        real = self.sources < self.rows.stop - self.rows.start
        return real.view(self.size, 1, 1, self.longest)

    def pad(self, x: Tensor) -> Tensor:
        """The group's rows (size, longest, D), of all rows (N, D)."""
        own = x[self.rows]
        if self.sources is not None:
            own = F.pad(own, (0, 0, 0, 1)).index_select(0, self.sources)
        return own.view(self.size, self.longest, -1)

    def unpad(self, padded: Tensor) -> Tensor:
        """Undo :meth:`pad`: (n, D)."""
        rows = padded.reshape(self.size * self.longest, -1)
        return rows if self.places is None else rows.index_select(0, self.places)


def group_utterances(
    lengths: Sequence[int], device: torch.device, most_rows: int | None = None
) -> list[Group]:
    """Group the utterances of a batch in their order.

    Args:
        lengths: rows of each utterance.
        device: where the rows are.
        most_rows: rows of a group, padding included; a longer utterance has a group of its own.
    """
    similar = 1.0 if device.type == "cpu" else SIMILAR
    groups: list[list[int]] = []
    shortest = longest = 0  # of the newest group
    for length in lengths:
        shortest, longest = min(shortest, length), max(longest, length)
        size = len(groups[-1]) + 1 if groups else 1
        fits = most_rows is None or longest * size <= most_rows
        if groups and fits and longest <= similar * shortest:
            groups[-1].append(length)
        else:
            groups.append([length])
            shortest = longest = length
    starts = accumulate(map(sum, groups), initial=0)
    return [_build(group, start, device) for group, start in zip(groups, starts, strict=False)]


def _build(lengths: Sequence[int], start: int, device: torch.device) -> Group:
    n, longest = sum(lengths), max(lengths)
    rows = slice(start, start + n)
    if longest * len(lengths) == n:
        return Group(rows, len(lengths), longest)
    real = torch.arange(longest) < torch.tensor(lengths)[:, None]
    sources = torch.where(real.flatten(), real.flatten().cumsum(0) - 1, n)
    places = real.flatten().nonzero()[:, 0]
    return Group(rows, len(lengths), longest, to_device(places, device), to_device(sources, device))
