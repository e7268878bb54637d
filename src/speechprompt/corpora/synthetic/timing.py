"""The timing of one rendition of a sentence given to another: dynamic time warping of MFCC."""

from typing import Any

import numpy as np
import torch
import torchaudio
from torchaudio.compliance import kaldi

from speechprompt.audio.reading import SAMPLE_RATE

__all__ = ["follow", "match"]

SHIFT = SAMPLE_RATE // 100
WINDOW, HOP = 512, 128
# Cost of a step that stands still in one of the renditions, in mean distances of frames.
STANDSTILL = 0.6
SMOOTH = 9  # frames


def match(waveform: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find when the same sound is made in two renditions of a sentence.

    Args:
        waveform: float32 ``[n_samples]`` at 16 kHz, without silence around the speech.
        other: another rendition, likewise.

    Returns:
        Times in seconds, both ascending: those of the first, and those of the other.
    """
    first, second = _features(waveform), _features(other)
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    path = _cheapest_path(distances)
    # The mean place in the other for each frame of the first, smoothed.
    places = np.bincount(path[:, 0], path[:, 1]) / np.bincount(path[:, 0])
    padded = np.pad(places, SMOOTH // 2, mode="edge")
    places = np.convolve(padded, np.ones(SMOOTH) / SMOOTH, mode="valid")
    ends = len(waveform) / SAMPLE_RATE, len(other) / SAMPLE_RATE
    here = (np.arange(len(first)) + 0.5) * ends[0] / len(first)
    there = (places + 0.5) * ends[1] / len(second)
    return np.array([0, *here, ends[0]]), np.maximum.accumulate([0, *there, ends[1]])


def follow(waveform: np.ndarray, times: np.ndarray, n_samples: int) -> np.ndarray:
    """Play a waveform at a pace that changes, with its own pitch: a phase vocoder.

    Args:
        waveform: float32 ``[n_samples]`` at 16 kHz.
        times: the moment of the waveform, in seconds, at each 128th sample of the result.
        n_samples: length of the result.
    """
    window = torch.hann_window(WINDOW)
    options: dict[str, Any] = {"n_fft": WINDOW, "hop_length": HOP, "window": window}
    spectrum = torch.stft(torch.from_numpy(waveform), return_complex=True, **options).numpy()
    places = np.clip(times * SAMPLE_RATE / HOP, 0, spectrum.shape[1] - 1.001)
    low = (places + 1e-6).astype(int)  # in spite of rounding
    share = places - low
    size, angle = np.abs(spectrum), np.angle(spectrum)
    sizes = (1 - share) * size[:, low] + share * size[:, low + 1]
    advance = angle[:, low + 1] - angle[:, low]
    phases = np.cumsum(advance, axis=1) - advance + angle[:, low[:1]]
    played = torch.from_numpy((sizes * np.exp(1j * phases)).astype(np.complex64))
    return torch.istft(played, length=n_samples, **options).numpy()


def _features(waveform: np.ndarray) -> np.ndarray:
    """MFCC and deltas with mean 0 and variance 1, float32 ``[n_frames, 26]``, 100 a second."""
    static = kaldi.mfcc(
        torch.from_numpy(waveform)[None],
        sample_frequency=float(SAMPLE_RATE),
        dither=0.0,
        snip_edges=False,
    ).T
    frames = torch.cat([static, torchaudio.functional.compute_deltas(static)]).T
    deviation, mean = torch.std_mean(frames, dim=0, correction=0)
    return ((frames - mean) / deviation.clamp(min=0.01)).numpy()


def _cheapest_path(distances: np.ndarray) -> np.ndarray:
    """Pairs of frames from the first to the last of both, int ``[n_pairs, 2]``."""
    n, m = distances.shape
    extra = STANDSTILL * distances.mean()
    # Anti-diagonals, one after the other: entry i of diagonal k is the pair (i, k - i).
    costs = np.full((n + m - 1, n), np.inf)
    steps = np.zeros((n + m - 1, n), np.int8)  # 0 both, 1 the first only, 2 the other only
    costs[0, 0] = distances[0, 0]
    for k in range(1, n + m - 1):
        i = np.arange(max(0, k - m + 1), min(n, k + 1))
        before = np.full((3, len(i)), np.inf)
        inside = i > 0
        if k > 1:
            before[0, inside] = costs[k - 2, i[inside] - 1]
        before[1, inside] = costs[k - 1, i[inside] - 1] + extra
        before[2] = costs[k - 1, i] + extra
        steps[k, i] = before.argmin(0)
        costs[k, i] = before.min(0) + distances[i, k - i]
    i, j = n - 1, m - 1
    path = [(i, j)]
    while i or j:
        step = steps[i + j, i]
        i, j = i - (step != 2), j - (step != 1)
        path.append((i, j))
    return np.array(path[::-1])
