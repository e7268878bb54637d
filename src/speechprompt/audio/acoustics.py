"""The acoustics of synthetic speech: coloured noise, spectral tilt and levels."""

from functools import lru_cache

import numpy as np
from scipy.signal import istft, stft

__all__ = [
    "NOISE_COLOURS",
    "add_noise",
    "colour_spectrum",
    "decaying_noise",
    "make_noise",
    "move_formants",
    "resize",
    "scale_to",
]

# Exponent of 1/f in the power spectrum, from hiss to the sound of traffic.
NOISE_COLOURS = {"blue": -1.0, "white": 0.0, "pink": 1.0, "brown": 2.0}
LOWEST_HZ = 40.0
PIVOT_HZ = 1000.0
WINDOW, HOP = 512, 128
# Cepstral coefficients of a spectrum's envelope: they show formants, but no harmonics.
ENVELOPE = 36


def make_noise(
    generator: np.random.Generator, n_samples: int, colour: str, sample_rate: int
) -> np.ndarray:
    """Make Gaussian noise whose level rises and falls slowly.

    Args:
        generator: Source of randomness.
        n_samples: Length.
        colour: A key of :data:`NOISE_COLOURS`.
        sample_rate: In Hz.

    Returns:
        float32 ``[n_samples]`` with root mean square 1.
    """
    gain = _colour_gain(n_samples, colour, sample_rate)
    noise = np.fft.irfft(np.fft.rfft(generator.standard_normal(n_samples)) * gain, n_samples)
    time = np.linspace(0, 2 * np.pi, n_samples, endpoint=False)
    depth, turns = generator.uniform(0, 0.5), generator.uniform(0.3, 3)
    noise *= 1 + depth * np.sin(turns * time + generator.uniform(0, 2 * np.pi))
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def add_noise(speech: np.ndarray, noise: np.ndarray, snr_db: float, active: slice) -> np.ndarray:
    """Add noise at a signal-to-noise ratio that is measured during the speech only.

    Args:
        speech: float32 ``[n_samples]``, silent outside ``active``.
        noise: float32 ``[n_samples]`` with root mean square 1.
        snr_db: Power of the speech over that of the noise, in dB.
        active: The samples of the speech.
    """
    level = np.sqrt(np.mean(speech[active] ** 2)) * 10 ** (-snr_db / 20)
    return speech + noise * np.float32(level)


def decaying_noise(
    generator: np.random.Generator, t60: float, seconds: float, sample_rate: int
) -> np.ndarray:
    """Make the reverberation of a room: noise that dies away.

    Args:
        generator: Source of randomness.
        t60: Seconds until it has fallen by 60 dB.
        seconds: Length.
        sample_rate: In Hz.

    Returns:
        float64 ``[n_samples]`` with energy 1; the first 2 ms are silent.
    """
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    tail = generator.standard_normal(len(time)) * 10 ** (-3 * time / t60)
    tail[: sample_rate // 500] = 0
    return tail / np.sqrt(np.sum(tail**2))


def colour_spectrum(waveform: np.ndarray, tilt_db: float, sample_rate: int) -> np.ndarray:
    """Tilt the spectrum about 1 kHz, as microphones and distance do.

    Args:
        waveform: float32 ``[n_samples]``.
        tilt_db: Gain per octave, in dB.
        sample_rate: In Hz.
    """
    bins = np.fft.rfftfreq(len(waveform), 1 / sample_rate)
    gain = (np.maximum(bins, LOWEST_HZ) / PIVOT_HZ) ** (tilt_db / (20 * np.log10(2)))
    return np.fft.irfft(np.fft.rfft(waveform) * gain, len(waveform)).astype(np.float32)


def scale_to(waveform: np.ndarray, level_db: float) -> np.ndarray:
    """Scale to a root mean square in dB of full scale, or to less if peaks would clip."""
    rms = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
    peak = np.abs(waveform).max()
    gain = min(10 ** (level_db / 20) / rms, 0.99 / peak)
    return (waveform * gain).astype(np.float32)


def resize(waveform: np.ndarray, n_samples: int) -> np.ndarray:
    """Play faster or slower, so that the result has ``n_samples``; pitch and formants move, too."""
    spectrum = np.fft.rfft(waveform)[: n_samples // 2 + 1]
    return (np.fft.irfft(spectrum, n_samples) * (n_samples / len(waveform))).astype(np.float32)


def move_formants(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the formants' frequencies, as in a shorter or longer vocal tract; pitch stays.

    The envelope of each short-time spectrum is that of its lowest cepstral coefficients, and is
    moved along the frequencies.

    Args:
        waveform: float32 ``[n_samples]`` at 16 kHz.
        factor: Above 1 for a shorter tract.
    """
    padded = np.pad(waveform, (0, max(0, WINDOW - len(waveform))))
    *_, spectrum = stft(padded, nperseg=WINDOW, noverlap=WINDOW - HOP)  # (bins, frames)
    size = np.abs(spectrum)
    cepstrum = np.fft.irfft(np.log(size + 1e-4 * size.max() + 1e-12), axis=0)
    cepstrum[ENVELOPE : WINDOW - ENVELOPE + 1] = 0
    envelope = np.fft.rfft(cepstrum, axis=0).real
    places = np.minimum(np.arange(len(envelope)) / factor, len(envelope) - 1)
    low = np.minimum(places.astype(int), len(envelope) - 2)
    share = (places - low)[:, None]
    moved = (1 - share) * envelope[low] + share * envelope[low + 1]
    _, result = istft(spectrum * np.exp(moved - envelope), nperseg=WINDOW, noverlap=WINDOW - HOP)
    return result[: len(waveform)].astype(np.float32)


@lru_cache(maxsize=64)
def _colour_gain(n_samples: int, colour: str, sample_rate: int) -> np.ndarray:
    bins = np.fft.rfftfreq(n_samples, 1 / sample_rate)
    gain = np.maximum(bins, LOWEST_HZ) ** (-NOISE_COLOURS[colour] / 2)
    gain[0] = 0
    return gain
