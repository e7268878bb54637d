"""Recordings with the lengths of keyword spotting and of transcription.

They are speech by eSpeak NG in noise, as in the package's synthetic corpora, or the user's own
recordings. They are never noise alone, because its units differ from those of speech.

- ``ks``: one second each, as in Speech Commands.
- ``asr``: 12.5 +- 3.5 seconds, as in LibriSpeech train-clean-100, from joined sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechprompt.audio.reading import SAMPLE_RATE, read_audio
from speechprompt.corpora.synthetic import keyword_spotting, transcription
from speechprompt.corpora.synthetic.espeak import Speaker
from speechprompt.errors import CorpusError

__all__ = ["make_recordings"]

SENTENCE_SECONDS = 1.5  # a lower bound of their mean
LENGTHS = {"ks": (1.0, 0.0), "asr": (12.5, 3.5)}
SUFFIXES = (".wav", ".flac")


def make_recordings(lengths: str, n: int, folder: str | None = None, seed: int = 1) -> list[Tensor]:
    """Make ``n`` recordings, float32 ``[n_samples]`` at 16 kHz, with the lengths ``ks`` or ``asr``.

    Args:
        lengths: ``ks`` or ``asr``.
        n: Number of recordings.
        folder: Folder with WAV or FLAC files, at any depth, to use instead of synthetic speech.
        seed: Seed of speech and lengths.

    Raises:
        CorpusError: there are no recordings in ``folder``, or one cannot be read.
    """
    mean, deviation = LENGTHS[lengths]
    rng = np.random.default_rng(seed)
    seconds = rng.normal(mean, deviation, n).clip(min(mean, 3.0), max(mean, 17.0))
    spoken = _synthetic(lengths, seed, float(seconds.sum())) if folder is None else _read(folder)
    recordings = []
    for n_samples in (seconds * SAMPLE_RATE).astype(int):
        parts, missing = [], n_samples
        while missing > 0:
            parts.append(next(spoken)[:missing])
            missing -= len(parts[-1])
        recordings.append(torch.from_numpy(np.concatenate(parts)))
    return recordings


def _synthetic(lengths: str, seed: int, seconds: float) -> Iterator[np.ndarray]:
    task = keyword_spotting if lengths == "ks" else transcription
    n = int(seconds / (1.0 if lengths == "ks" else SENTENCE_SECONDS)) + 1
    plan = task.plan(seed, {"train": n, "valid": 0, "test": 0})
    with Speaker() as speaker:
        while True:
            yield from (item.render(speaker)[0] for item in plan)


def _read(folder: str) -> Iterator[np.ndarray]:
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix in SUFFIXES)
    if not paths:
        raise CorpusError(f"{folder}: expected WAV or FLAC files, found none")
    yield from (read_audio(path) for path in cycle(paths))
