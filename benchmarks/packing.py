"""Time that the host takes to prepare a batch for training on a GPU."""

from __future__ import annotations

from dataclasses import asdict
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks.cases import Case, Effort
from benchmarks.data import make_workload
from benchmarks.machine import peak_memory
from benchmarks.ours import Ours
from benchmarks.timing import Timing, repeat
from speechprompt.prompting.padded import Padded
from speechprompt.tasks.examples import Examples

__all__ = ["measure_packing"]

_BATCHES = 8


def measure_packing(
    case: Case, effort: Effort, lm_path: str, units_file: str | None, device: str = "cpu"
) -> dict[str, Any]:
    """Time :meth:`Padded.tables`.

    Returns:
        The values of :func:`benchmarks.measure.measure`, and ``microseconds``, the median
        time per utterance.
    """
    workload = make_workload(case.lengths, _BATCHES * case.batch, units_file)
    task = Ours(lm_path, workload, case.precision, device).task
    padded, batches = Padded(task), workload.batches(case.batch)

    def run(batch: Examples) -> float:
        padded.tables(batch.units, batch.labels)
        return 1.0

    for batch in batches:
        run(batch)
    timing: Timing[Examples] = repeat(run, cycle(batches), effort, device)
    return {
        **asdict(case),
        "utterances_per_second": sum(map(len, timing.used)) / timing.total,
        "microseconds": 1e6 * float(np.median(timing.seconds)) / case.batch,
        **timing.summary(),
        "peak_bytes": peak_memory(device),
    }
