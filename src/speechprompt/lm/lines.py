"""A batch as padded lines, all of whose tables are made on the device.

A GPU computes padding faster than it finds out what can be left out. Batches whose sizes are
:func:`rounded` have few different shapes, so that their computation can be replayed
(:mod:`speechprompt.runtime.replay`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechprompt.lm.pack import Memory, Pack

__all__ = ["pack_lines", "rounded"]


def rounded(n: int) -> int:
    """The least number from ``n`` on of which there are eight between two powers of two."""
    step = 1 << max(0, n.bit_length() - 4)
    return -(-n // step) * step


@dataclass(frozen=True)
class _Lines:
    """Rows that already stand in B lines (B*T, D); those of a prompt (L, D) come in front."""

    n: int

    def __call__(self, rows: Tensor, prompt: Tensor | None = None) -> Tensor:
        if prompt is None:
            return rows
        lines = rows.view(self.n, -1, rows.shape[1])
        return torch.cat((prompt.expand(self.n, -1, -1), lines), dim=1).flatten(0, 1)


def pack_lines(
    tokens: Tensor,
    lengths: Tensor,
    wanted: Tensor,
    n_prompt: int,
    separators: Tensor,
    dtype: torch.dtype,
) -> Pack:
    """Pack sequences without looking for what they share.

    Args:
        tokens: (B, T) dictionary ids; padding has any.
        lengths: (B,) tokens of each line.
        wanted: (B, W) the tokens of each line whose hidden states are wanted.
        n_prompt: deep rows in front of each line, in the layers that have such rows.
        separators: (B,) the token of each line that is the separator.
        dtype: number type of the model's activations.
    """
    n, width = tokens.shape
    line = torch.arange(n, device=tokens.device)[:, None]
    place = torch.arange(width, device=tokens.device)
    n_wanted = wanted.shape[1]
    same, none = _Lines(n), tokens.new_empty(0)

    def memory(rows: int) -> Memory:
        slots = torch.arange(rows + width, device=tokens.device)
        queries, asked = (place + rows)[None, None, :, None], (wanted + rows)[:, None, :, None]
        return Memory(same, lengths + rows, slots, queries, asked, dtype)

    plain = memory(0)
    return Pack(
        tokens=tokens.flatten(),
        positions=place.repeat(n),
        separators=(line[:, 0] * width + separators),
        prompt_rows=none,
        prompt_numbers=none,
        spread=same,
        collect=same,
        plain=plain,
        deep=memory(n_prompt) if n_prompt else plain,
        wanted=(line * width + wanted).flatten(),
        wanted_spread=same,
        wanted_collect=same,
        answers=torch.arange(n * n_wanted, device=tokens.device),
        lines=line.expand(-1, n_wanted).flatten(),
        places=torch.arange(n_wanted, device=tokens.device).repeat(n),
        next_position=lengths,
    )
