from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from small_run import RATE, sound
from speechprompt.config.corpora import Corpus
from speechprompt.corpora.manifest import FIXED_FIELDS


@pytest.fixture
def configured_labels():
    """Whether the configuration knows the label columns of manifests as they were written."""

    def agree(block: Corpus, manifests: Path) -> bool:
        written = pq.read_schema(manifests / "train.parquet").names[len(FIXED_FIELDS) :]
        return block.label_columns == [*written, "speaker"]

    return agree


@pytest.fixture
def record():
    """Write short recordings by path below a folder; every one differs."""

    def write(folder: Path, *paths: str, sample_rate: int = 8_000) -> None:
        for index, path in enumerate(paths):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(index).normal(0, 0.1, 400 + index)
            soundfile.write(target, noise, sample_rate)

    return write


@pytest.fixture
def speak(shared_data):
    """Write real recordings, at 16 kHz, by path below a folder; every one differs."""
    spoken = sorted((shared_data / "fsdd").glob("*.wav"))

    def write(folder: Path, *paths: str) -> None:
        for path, source in zip(paths, spoken, strict=False):
            audio, _ = soundfile.read(source, dtype="int16")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(target, np.repeat(audio, 2), 16_000)

    return write


@pytest.fixture
def talks(tmp_path):
    """Three recordings of two channels and six seconds."""
    for i in range(3):
        both = np.stack([sound(2 * i, 6.0), sound(2 * i + 1, 6.0)], axis=1)
        soundfile.write(tmp_path / f"talk{i}.wav", both, RATE)
    return tmp_path
