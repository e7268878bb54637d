"""Augmentation: a room, another talker, noise, a narrow channel, and another speed.

Formants and pitch move with the speed, so that another speed is another voice. On request there are
also other vocal tracts, in which formants move alone, clipping and codecs. The targets stay
those of the recording as it is, so that an encoder learns to ignore the changes.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from speechprompt.audio.acoustics import (
    NOISE_COLOURS,
    decaying_noise,
    make_noise,
    move_formants,
)
from speechprompt.audio.degradation import CODECS, transmit
from speechprompt.audio.reading import SAMPLE_RATE

__all__ = ["augment"]

POOL_SECONDS = 30
FAST_LENGTH = SAMPLE_RATE // 10
SPEED = (0.85, 1.18)
REVERBERATION = 0.3
REVERBERATION_SECONDS = (0.1, 0.6)
DIRECT_TO_REVERBERANT_DB = (0.0, 15.0)
TALKER = 0.1
TALKER_SNR_DB = (3.0, 20.0)
NOISE = 0.6
NOISE_SNR_DB = (5.0, 40.0)
NARROW = 0.4
TELEPHONE_LOW_HZ = (0.0, 400.0)
TELEPHONE_HIGH_HZ = (3000.0, 4000.0)
TILT_DB = (-4.0, 4.0)
LOWEST_HZ, PIVOT_HZ = 40.0, 1000.0
# What is heard with ``hard`` only.
HARD_REVERBERANT_DB = (-5.0, 15.0)
TRACT = 0.3
TRACT_FACTOR = (0.85, 1.2)
CLIPPING = 0.1
CLIPPED_AT = (0.15, 0.7)  # of the peak
CODEC = 0.1
CODEC_PEAK = (0.1, 0.9)


def augment(
    batch: np.ndarray,
    generator: np.random.Generator,
    speed: tuple[float, float] = SPEED,
    hard: bool = False,
) -> tuple[np.ndarray, float]:
    """Augment each recording of a batch on its own, and play all at one speed.

    Args:
        batch: float32 ``[B, n_samples]`` at 16 kHz.
        generator: source of randomness.
        speed: the slowest and the fastest speed.
        hard: also farther microphones, other vocal tracts, clipping and codecs.

    Returns:
        The augmented batch, float32 ``[B, about n_samples / speed]`` of any level, and the speed:
        what was at t seconds is at t / speed.
    """
    n_samples = batch.shape[1]
    n_padded = _whole(n_samples + SAMPLE_RATE // 2)
    spectra = np.fft.rfft(batch, n_padded)  # (B, bins)
    power = np.mean(np.square(batch), axis=1) + 1e-10
    result = np.empty_like(spectra)
    for row, spectrum in enumerate(spectra):
        heard = spectrum
        if generator.random() < REVERBERATION:
            heard = heard * np.fft.rfft(_room(generator, hard), n_padded)
        if generator.random() < TALKER and len(batch) > 1:
            other = (row + int(generator.integers(1, len(batch)))) % len(batch)
            gain = _gain(power[row], power[other], generator.uniform(*TALKER_SNR_DB))
            heard = heard + gain * spectra[other]
        if generator.random() < NOISE:
            noise = _noise(generator, n_samples)
            gain = _gain(power[row], np.mean(np.square(noise)), generator.uniform(*NOISE_SNR_DB))
            heard = heard + gain * np.fft.rfft(noise, n_padded)
        result[row] = heard * _channel(generator, n_padded)
    # An inverse transform of another length changes the speed without aliases.
    n_played = _whole(round(n_padded / generator.uniform(*speed)))
    factor = n_padded / n_played
    played = np.fft.irfft(result[:, : n_played // 2 + 1], n_played)
    played = played[:, : int(n_samples / factor)].astype(np.float32)
    if hard:
        played = np.stack([_record(waveform, generator) for waveform in played])
    return played, factor


def _record(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Change formants, clip and encode, each in some of the recordings."""
    if generator.random() < TRACT:
        waveform = move_formants(waveform, generator.uniform(*TRACT_FACTOR))
    if generator.random() < CLIPPING:
        most = np.abs(waveform).max() * generator.uniform(*CLIPPED_AT)
        waveform = np.clip(waveform, -most, most)
    if generator.random() < CODEC:
        waveform = _encode(waveform, generator)
    return waveform


def _encode(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Encode with one of the codecs at some level, and decode."""
    codec = list(CODECS.values())[generator.integers(len(CODECS))]
    level = generator.uniform(*CODEC_PEAK) / (np.abs(waveform).max() + 1e-10)
    return transmit(level * waveform, codec)


def _whole(n_samples: int) -> int:
    """The next length whose Fourier transform is fast."""
    return -(-n_samples // FAST_LENGTH) * FAST_LENGTH


def _gain(speech_power: float, other_power: float, snr_db: float) -> float:
    return float(np.sqrt(speech_power / other_power) * 10 ** (-snr_db / 20))


def _room(generator: np.random.Generator, hard: bool) -> np.ndarray:
    """A room's impulse response: the direct sound, then noise that dies away (60 dB in T60)."""
    seconds = generator.uniform(*REVERBERATION_SECONDS)
    tail = decaying_noise(generator, seconds, min(seconds, 0.45), SAMPLE_RATE)
    ratio_db = generator.uniform(*(HARD_REVERBERANT_DB if hard else DIRECT_TO_REVERBERANT_DB))
    response = tail * 10 ** (-ratio_db / 20)
    response[0] = 1.0
    return response


def _noise(generator: np.random.Generator, n_samples: int) -> np.ndarray:
    """A piece of noise of some colour."""
    pool = _noise_pool()[generator.integers(len(NOISE_COLOURS))]
    start = int(generator.integers(max(1, len(pool) - n_samples)))
    return pool[start : start + n_samples]


@cache
def _noise_pool() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    n_samples = POOL_SECONDS * SAMPLE_RATE
    return [make_noise(generator, n_samples, colour, SAMPLE_RATE) for colour in NOISE_COLOURS]


def _channel(generator: np.random.Generator, n_samples: int) -> np.ndarray:
    """The gain of each bin: a tilt of the spectrum, and for some the band of a telephone."""
    bins = np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE)
    tilt = generator.uniform(*TILT_DB) / (20 * np.log10(2))
    gain = (np.maximum(bins, LOWEST_HZ) / PIVOT_HZ) ** tilt
    if generator.random() < NARROW:
        low, high = generator.uniform(*TELEPHONE_LOW_HZ), generator.uniform(*TELEPHONE_HIGH_HZ)
        gain *= 1 / (1 + (low / np.maximum(bins, 1.0)) ** 8)
        gain *= 1 / (1 + (bins / high) ** 24)
    return gain
