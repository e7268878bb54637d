from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile


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
