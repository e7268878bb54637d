"""Speed of encoding, and the agreement of units in a faster precision with those in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import repeat as forever
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.audio import make_recordings
from benchmarks.cases import OURS, PUBLISHED, Case, Effort
from benchmarks.encoders import (
    HUBERT_BASE,
    LAYER,
    OurEncoder,
    PublishedReader,
    TransformersEncoder,
)
from benchmarks.machine import peak_memory
from benchmarks.operations import encoding_operations
from benchmarks.timing import repeat
from speechprompt.audio.reading import SAMPLE_RATE

__all__ = ["measure_encoding", "unit_agreement"]

N_UNITS = 100
# Least numbers of recordings that are timed, and of those whose units are compared (two minutes).
_TIMED = {"ks": 40, "asr": 3}
_COMPARED = {"ks": 120, "asr": 10}


def measure_encoding(
    case: Case,
    effort: Effort,
    model_path: str | Path,
    audio_folder: str | None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Time one encoder.

    Returns:
        The values of :func:`benchmarks.measure.measure`; ``real_time``, seconds of audio per
        second; and for another precision than fp32, and on a GPU, ``unit_agreement``, the share of
        frames with the same unit as in fp32 on the CPU.
    """
    n, n_compared = max(case.batch, _TIMED[case.lengths]), _COMPARED[case.lengths]
    recordings = make_recordings(case.lengths, max(n, n_compared), audio_folder)
    timed = sorted(recordings[:n], key=len)  # as in the pipeline
    encoder: Any
    if case.contender == OURS:
        encoder = OurEncoder(model_path, case.precision, device)
    elif case.contender == PUBLISHED:
        encoder = PublishedReader(model_path)
    else:
        encoder = TransformersEncoder(model_path, case.precision, device)

    def run(waveforms: Sequence[Tensor]) -> float:
        for start in range(0, len(waveforms), case.batch):
            encoder.encode(waveforms[start : start + case.batch])
        return 1.0

    encoder.encode(timed[: case.batch])  # warm up: weights paged in, kernels built
    timing = repeat(run, forever(timed), effort, device)
    seconds = sum(map(len, timed)) / SAMPLE_RATE * len(timing.used)
    result = {
        **asdict(case),
        "utterances_per_second": sum(map(len, timing.used)) / timing.total,
        "real_time": seconds / timing.total,
        **timing.summary(),
        "peak_bytes": peak_memory(device),
    }
    if case.contender == OURS:
        needed = sum(encoding_operations(HUBERT_BASE, LAYER, len(waveform)) for waveform in timed)
        result["gflops"] = 1e-9 * needed * len(timing.used) / timing.total
        if case.precision != "fp32" or device != "cpu":
            exact, compared = OurEncoder(model_path, "fp32"), recordings[:n_compared]
            result["unit_agreement"] = unit_agreement(
                torch.cat(exact.encode(compared)), torch.cat(encoder.encode(compared))
            )
    return result


def unit_agreement(exact: Tensor, other: Tensor, n_units: int = N_UNITS) -> float:
    """The share of frames ``[n_frames, D]`` whose unit is the same.

    The codebook is k-means over the exact frames.
    """
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(n_units, n_init=3, batch_size=2048, random_state=1)
    units = kmeans.fit(exact.numpy()).predict(exact.numpy())
    return float((units == kmeans.predict(other.numpy())).mean())
