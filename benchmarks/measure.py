"""One measurement in a process of its own: ``python -m benchmarks.measure JSON`` prints JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from itertools import cycle, islice
from typing import Any

from benchmarks.cases import (
    ENCODE,
    EXTRACT,
    MODELS,
    OURS,
    PACK,
    PRETRAIN,
    PUBLISHED,
    TRAIN,
    Case,
    Effort,
)
from benchmarks.contender import Contender, CountsOperations
from benchmarks.data import Workload, make_workload
from benchmarks.machine import matrix_peak, peak_memory
from benchmarks.timing import Timing, repeat
from speechprompt.runtime.device import set_compute_threads
from speechprompt.tasks.examples import Examples

__all__ = ["measure", "measure_case"]

# Least number of utterances. Every repetition takes another batch of them.
_UTTERANCES = {"ks": 512, "asr": 32}
_BATCHES = 4


def measure(
    case: Case, effort: Effort, lm_path: str, units_file: str | None, device: str = "cpu"
) -> dict[str, Any]:
    """Time one case.

    Returns:
        ``utterances_per_second`` over all repetitions, ``spread`` (relative standard deviation of
        the repetitions), ``repetitions``, ``peak_bytes`` and, for this package, ``gflops`` needed
        per second.
    """
    n = max(_UTTERANCES[case.lengths], _BATCHES * case.batch)
    workload = make_workload(case.lengths, n, units_file)
    contender = _contender(case, effort, lm_path, workload, device)
    training = case.phase == TRAIN
    make = contender.training_batches if training else contender.inference_batches
    batches = make(workload, case.batch)

    def run(batch: Examples) -> float:
        if training:
            contender.update(batch)
            return 1.0
        return contender.infer(batch, workload.answer)

    # Warm up: load the pages of the weights and build the kernels.
    some = _first(batches[0], -(-case.batch // 4))
    if device == "cuda":  # memory is reserved, and what repeats is recorded
        long_answers = not training and workload.answer > 1
        for batch in batches[:1] if long_answers else batches:
            run(batch)
            run(batch)
    elif training:
        contender.update(some)
    else:
        contender.infer(some, min(workload.answer, 2))
    timing: Timing[Examples] = repeat(run, islice(cycle(batches), 1, None), effort, device)
    result = {
        **asdict(case),
        "utterances_per_second": sum(map(len, timing.used)) / timing.total,
        **timing.summary(),
        "peak_bytes": peak_memory(device),
    }
    if isinstance(contender, CountsOperations):
        needed = {
            id(batch): contender.update_operations(batch)
            if training
            else contender.inference_operations(batch, workload.answer)
            for batch in batches
        }
        result["gflops"] = 1e-9 * sum(needed[id(batch)] for batch in timing.used) / timing.total
    return result


def _contender(
    case: Case, effort: Effort, lm_path: str, workload: Workload, device: str
) -> Contender:
    if case.contender == OURS:
        from benchmarks.ours import Ours

        return Ours(lm_path, workload, case.precision, device)
    if case.contender == PUBLISHED:
        from benchmarks.published import Published

        return Published.load(lm_path, workload, effort.passes)
    from benchmarks.prefix_tuning import PrefixTuning

    return PrefixTuning(MODELS[case.model], workload, case.precision, device)


def _first(batch: Examples, n: int) -> Examples:
    return Examples(batch.utt_ids[:n], batch.units[:n], batch.labels[:n])


def main(job: dict[str, Any]) -> None:
    """Run a job: the ``peak`` of a precision, or a ``case``."""
    import torch

    set_compute_threads(job["threads"])
    torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32 for everyone
    device = job["device"]
    if "peak" in job:
        result = matrix_peak(job["peak"], job["seconds"], laid_out=job["laid_out"], device=device)
    else:
        files = (job["model_path"], job["units_file"], job["audio_folder"])
        result = measure_case(Case(**job["case"]), Effort(**job["effort"]), *files, device)
    print(json.dumps(result))


def measure_case(
    case: Case,
    effort: Effort,
    model_path: str,
    units_file: str | None = None,
    audio_folder: str | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Time any case.

    Args:
        case: the case.
        effort: for how long.
        model_path: file of the model.
        units_file: the user's own lines of units.
        audio_folder: the user's own recordings.
        device: cpu or cuda.
    """
    if case.phase == ENCODE:
        from benchmarks.encoding import measure_encoding

        return measure_encoding(case, effort, model_path, audio_folder, device)
    if case.phase == EXTRACT:
        from benchmarks.extraction import measure_extraction

        return measure_extraction(case, effort, model_path, audio_folder, device)
    if case.phase == PRETRAIN:
        from benchmarks.pretraining import measure_pretraining

        return measure_pretraining(case, effort, units_file, device)
    if case.phase == PACK:
        from benchmarks.packing import measure_packing

        return measure_packing(case, effort, model_path, units_file, device)
    return measure(case, effort, model_path, units_file, device)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
