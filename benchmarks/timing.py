"""Timing of repetitions until they have taken long enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from benchmarks.cases import Effort
from benchmarks.machine import waiting_for

__all__ = ["Timing", "repeat"]

Batch = TypeVar("Batch")


@dataclass
class Timing(Generic[Batch]):
    """Batches and the seconds that each took."""

    used: list[Batch] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        """The sum of the seconds."""
        return sum(self.seconds)

    def summary(self) -> dict[str, Any]:
        """``repetitions`` and ``spread``, the relative standard deviation of their times."""
        spread = float(np.std(self.seconds) / np.mean(self.seconds))
        return {"spread": spread, "repetitions": len(self.used)}


def repeat(
    run: Callable[[Batch], float],
    batches: Iterable[Batch],
    effort: Effort,
    device: str = "cpu",
) -> Timing[Batch]:
    """Run batch after batch; the time of each ends when the device has computed it.

    Args:
        run: returns the share of its work that it did.
        batches: what it gets.
        effort: for how long.
        device: cpu or cuda.
    """
    wait = waiting_for(device)
    timing: Timing[Batch] = Timing()
    begin = time.perf_counter()
    for batch in batches:
        start = time.perf_counter()
        share = run(batch)
        wait()
        timing.seconds.append((time.perf_counter() - start) / share)
        timing.used.append(batch)
        passed = time.perf_counter() - begin
        enough = len(timing.used) >= effort.repetitions or passed >= 3 * effort.seconds
        if enough and passed >= effort.seconds:
            break
    return timing
