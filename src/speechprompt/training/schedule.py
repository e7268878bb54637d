"""Schedules: the learning rate over the updates of a training."""

from __future__ import annotations

import math

from speechprompt.config.training import Schedule

__all__ = ["learning_rate"]


def learning_rate(kind: Schedule, peak: float, update: int, warmup: int, total: int) -> float:
    """The learning rate of one update.

    Args:
        kind: what follows the linear warm-up. ``constant`` stays at the peak, ``inverse_sqrt`` is
            fairseq's peak x sqrt(warmup / update), ``cosine`` falls to 0 at ``total``.
        peak: the highest rate.
        update: number of the update, from 0.
        warmup: number of updates in which the rate rises linearly.
        total: number of updates of a training that is not stopped early.
    """
    if update < warmup:
        return peak * (update + 1) / warmup
    if kind == "inverse_sqrt":
        return peak * math.sqrt(max(warmup, 1) / (update + 1))
    if kind == "cosine":
        share = min(1.0, (update - warmup) / max(1, total - warmup))
        return peak * 0.5 * (1 + math.cos(math.pi * share))
    return peak
