"""Speed of the whole job ``extract_features``: files are read, encoded, and written as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import repeat as forever
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import soundfile
from torch import Tensor

from benchmarks.audio import make_recordings
from benchmarks.cases import Case, Effort
from benchmarks.encoders import LAYER
from benchmarks.machine import peak_memory
from benchmarks.timing import Timing, repeat
from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.corpora.manifest import manifest_schema
from speechprompt.encoders import load_encoder
from speechprompt.storage.parquet import write_parquet
from speechprompt.units.extraction import extract_features

__all__ = ["measure_extraction", "write_corpus"]

# Distinct recordings; a larger corpus lists them again.
_DISTINCT = {"ks": 400, "asr": 32}
# The formats of Speech Commands and of LibriSpeech.
_SUFFIXES = {"ks": ".wav", "asr": ".flac"}


def measure_extraction(
    case: Case,
    effort: Effort,
    model_path: str | Path,
    audio_folder: str | None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Time the job on ``case.batch`` utterances, the start of its process excluded.

    Returns:
        The values of :func:`benchmarks.measure.measure`, and ``real_time``, seconds of audio per
        second.
    """
    n = min(case.batch, _DISTINCT[case.lengths])
    recordings = make_recordings(case.lengths, n, audio_folder)
    encoder = load_encoder(
        "hubert", weights=model_path, layer=LAYER, precision=case.precision, device=device
    )
    with TemporaryDirectory(prefix="speechprompt-bench-") as folder:
        suffix = _SUFFIXES[case.lengths]
        manifest, seconds = write_corpus(Path(folder), recordings, case.batch, suffix)

        def run(path: Path) -> float:
            extract_features(path, encoder, Path(folder) / "features.parquet")
            return 1.0

        run(manifest)  # warm up
        timing: Timing[Path] = repeat(run, forever(manifest), effort, device)
    return {
        **asdict(case),
        "utterances_per_second": case.batch * len(timing.used) / timing.total,
        "real_time": seconds * len(timing.used) / timing.total,
        **timing.summary(),
        "peak_bytes": peak_memory(device),
    }


def write_corpus(
    folder: Path, recordings: Sequence[Tensor], n: int, suffix: str
) -> tuple[Path, float]:
    """Write recordings and a manifest of ``n`` utterances; return it and their seconds."""
    for i, recording in enumerate(recordings):
        soundfile.write(folder / f"{i:04d}{suffix}", recording.numpy(), SAMPLE_RATE)
    chosen = [i % len(recordings) for i in range(n)]
    samples = [len(recordings[i]) for i in chosen]
    columns = {
        "utt_id": [f"u{i:07d}" for i in range(n)],
        "path": [f"{i:04d}{suffix}" for i in chosen],
        "n_samples": samples,
        "sample_rate": [SAMPLE_RATE] * n,
        "speaker": [None] * n,
    }
    manifest = folder / "manifest.parquet"
    write_parquet(manifest, pa.table(columns, schema=manifest_schema([], root=str(folder))))
    return manifest, sum(samples) / SAMPLE_RATE
