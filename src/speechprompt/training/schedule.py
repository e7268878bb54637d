"""Learning rate over the updates of a training."""

from __future__ import annotations

import math
from typing import Literal, get_args

from speechprompt.errors import ConfigError

__all__ = ["Schedule", "learning_rate"]

Schedule = Literal["constant", "inverse_sqrt", "cosine"]


def learning_rate(kind: Schedule, peak: float, update: int, warmup: int, total: int) -> float:
    """Rate of one update.

    Args:
        kind: what follows the linear warm-up: ``constant``; ``inverse_sqrt``, fairseq's
            peak x sqrt(warmup / update); ``cosine`` down to 0 at ``total``.
        peak: the highest rate.
        update: number of the update, from 0.
        warmup: updates of linear rise.
        total: updates if training is not stopped early.

    Raises:
        ConfigError: an unknown kind.
    """
    if kind not in get_args(Schedule):
        raise ConfigError(f"schedule: expected one of {get_args(Schedule)}, found {kind!r}")
    if update < warmup:
        return peak * (update + 1) / warmup
    if kind == "inverse_sqrt":
        return peak * math.sqrt(max(warmup, 1) / (update + 1))
    if kind == "cosine":
        share = min(1.0, (update - warmup) / max(1, total - warmup))
        return peak * 0.5 * (1 + math.cos(math.pi * share))
    return peak
