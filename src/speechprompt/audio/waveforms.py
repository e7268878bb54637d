"""Audio in any form that a program has it in, as 16 kHz mono float32."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.audio.reading import (
    BLOCK_SAMPLES,
    LARGEST_RATE,
    MAX_SECONDS,
    SAMPLE_RATE,
    AudioError,
    check_samples,
    read_audio,
    read_blocks,
    read_content,
    resample,
)

__all__ = ["WAVEFORM", "Audio", "as_waveform", "is_samples", "waveform_blocks"]

# A path, a file object, an array or a tensor.
Audio = Any
# What audio without a path is called.
WAVEFORM = "waveform"
# More columns than this are samples, not channels.
MOST_CHANNELS = 32
# Bytes of an integer whose full scale is that of its type: no audio has 64 bits.
LARGEST_INTEGER = 4


def is_samples(audio: Audio) -> bool:
    """Whether these are the samples of one recording: an array, a tensor or a list of numbers."""
    if isinstance(audio, np.ndarray) or hasattr(audio, "detach"):
        return True
    is_list = isinstance(audio, list | tuple) and len(audio) > 0
    return is_list and isinstance(audio[0], int | float | np.number)


def as_waveform(audio: Audio, rate: int | None = None, name: str = WAVEFORM) -> np.ndarray:
    """Take audio from a path, a file object, an array or a tensor.

    Args:
        audio: a path, or a file object with a whole audio file. Or samples ``[n_samples]``, or with
            channels on either axis, which are averaged: floats of full scale 1, or integers of
            the full scale of their type.
        rate: sample rate of samples in Hz; files have their own.
        name: what the audio is called in messages.

    Returns:
        float32 ``[n_samples]`` at 16 kHz, full scale 1.

    Raises:
        AudioError: the audio cannot be used, or samples come without their rate.
    """
    if isinstance(audio, str | Path):
        return read_audio(audio)
    if hasattr(audio, "read"):
        return read_content(_content(audio, name), name)
    samples, rate = _samples(audio, rate, name)
    if len(samples) > MAX_SECONDS * rate:
        raise AudioError(
            name, f"{len(samples) / rate:.0f} s long; an utterance has at most {MAX_SECONDS} s"
        )
    waveform = _mono(samples)
    check_samples(name, waveform)
    return resample(waveform, rate, SAMPLE_RATE)


def waveform_blocks(
    audio: Audio, rate: int | None = None, name: str = WAVEFORM
) -> Iterator[tuple[np.ndarray, int]]:
    """Take audio of any length as :func:`as_waveform` does, block by block.

    Beside the audio itself, memory is that of a block.

    Args:
        audio: as for :func:`as_waveform`.
        rate: sample rate of samples in Hz; files have their own.
        name: what the audio is called in messages.

    Yields:
        Blocks of samples, float32 ``[n]``, full scale 1, and their sample rate in Hz.

    Raises:
        AudioError: the audio cannot be used, or samples come without their rate.
    """
    if isinstance(audio, str | Path):
        yield from read_blocks(audio)
    elif hasattr(audio, "read"):
        yield from read_blocks(name, _content(audio, name))
    else:
        samples, rate = _samples(audio, rate, name)
        for start in range(0, len(samples), BLOCK_SAMPLES):
            block = _mono(samples[start : start + BLOCK_SAMPLES])
            check_samples(name, block)
            yield block, rate


def _content(stream: Any, name: str) -> bytes:
    try:
        content = stream.read()
    except (OSError, ValueError) as error:
        raise AudioError(name, f"cannot be read ({error})") from error
    if not isinstance(content, bytes):
        raise AudioError(name, "not audio that libsndfile reads (expected a file of bytes)")
    return content


def _samples(audio: Audio, rate: int | None, name: str) -> tuple[np.ndarray, int]:
    """Samples as numbers ``[n_samples]`` or ``[n_samples, n_channels]``, and their rate in Hz."""
    if rate is None:
        raise AudioError(name, "expected the sample rate of the samples, such as rate=16000")
    if not isinstance(rate, int | np.integer) or not 1 <= rate <= LARGEST_RATE:
        raise AudioError(name, f"expected a rate of 1 to {LARGEST_RATE:,} Hz, found {rate!r}")
    try:
        if hasattr(audio, "detach"):
            audio = audio.detach().cpu()
            audio = (audio.float() if audio.is_floating_point() else audio).numpy()
        samples = np.asarray(audio)
        if samples.dtype.kind not in "iuf":
            raise TypeError(f"numbers of type {samples.dtype}")
        if samples.dtype.kind != "f" and samples.dtype.itemsize > LARGEST_INTEGER:
            raise TypeError(f"numbers of type {samples.dtype}, whose full scale is not known")
    except (TypeError, ValueError, RuntimeError) as error:
        raise AudioError(name, f"expected a path, a file, an array or a tensor ({error})") from None
    if samples.ndim == 2 and min(samples.shape) <= MOST_CHANNELS:
        samples = samples if samples.shape[1] <= samples.shape[0] else samples.T
    elif samples.ndim != 1:
        shape = " x ".join(map(str, samples.shape)) or "a single number"
        raise AudioError(name, f"expected samples in one row, or rows of channels, found {shape}")
    if not samples.size:
        raise AudioError(name, "empty: no samples")
    return samples, int(rate)


def _mono(samples: np.ndarray) -> np.ndarray:
    """Numbers ``[n_samples]`` or ``[n_samples, n_channels]`` as float32 ``[n_samples]``."""
    if samples.dtype.kind in "iu":
        info = np.iinfo(samples.dtype)
        middle = 0.0 if samples.dtype.kind == "i" else (info.max + 1) / 2
        samples = (samples.astype(np.float32) - middle) / (float(info.max) + 1 - middle)
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 2:
        samples = samples.mean(axis=1, dtype=np.float32)
    return np.ascontiguousarray(samples)
