"""Which utterances an epoch of a task's training sees, and in which order."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

__all__ = ["draw_rows"]


def draw_rows(
    labels: Sequence[Sequence[int]], n: int, seed: int, epoch: int, balance: bool
) -> np.ndarray:
    """Draw the rows of one epoch, in order; the same seed and epoch draw the same.

    Args:
        labels: label indices of every utterance's answer.
        n: number of rows to draw.
        seed: seed of the training.
        epoch: number of the epoch.
        balance: draw with replacement so that every answer is equally likely; otherwise every row
            comes once before any comes again.
    """
    generator = np.random.default_rng([seed, epoch])
    if balance:
        _, answer, count = np.unique(
            [json.dumps(row) for row in labels], return_inverse=True, return_counts=True
        )
        weight = 1.0 / count[answer]
        return generator.choice(len(labels), n, p=weight / weight.sum())
    passes = -(-n // len(labels))
    return np.concatenate([generator.permutation(len(labels)) for _ in range(passes)])[:n]
