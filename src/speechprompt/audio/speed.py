"""Renditions: a recording played at other speeds, so that pitch and formants move along.

A rendition sounds as if another person had spoken. See Ko et al., "Audio Augmentation for Speech
Recognition" (Interspeech 2015).
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["SPEEDS", "check_speeds", "play_at", "with_renditions"]

SPEEDS = (0.85, 0.92, 1.08, 1.18)
"""Speeds for few recordings, or for other voices than those of train."""

SLOWEST, FASTEST, MOST = 0.5, 2.0, 16


def check_speeds(speeds: Sequence[float]) -> None:
    """Raise a ValueError where one is out of range, 1 or given twice, or there are too many."""
    for speed in speeds:
        if not SLOWEST <= speed <= FASTEST or speed == 1:
            raise ValueError(
                f"expected speeds from {SLOWEST} to {FASTEST}, without the 1 that recordings have, "
                f"found {speed}"
            )
    if len(set(speeds)) < len(speeds) or len(speeds) > MOST:
        raise ValueError(f"expected up to {MOST} different speeds, found {list(speeds)}")


def play_at(speeds: Sequence[float], waveform: np.ndarray) -> list[np.ndarray]:
    """Play a recording at other speeds.

    Args:
        speeds: factors; at 2, the recording is half as long and an octave higher.
        waveform: float32 ``[n_samples]`` at 16 kHz.

    Returns:
        float32 ``[about n_samples / speed]`` for each speed.
    """
    from speechprompt.audio.reading import SAMPLE_RATE, resample

    return [resample(waveform, round(SAMPLE_RATE * speed), SAMPLE_RATE) for speed in speeds]


def with_renditions(waveform: np.ndarray, speeds: Sequence[float]) -> list[np.ndarray]:
    """A recording as it is, and behind it as it is at other speeds; see :func:`play_at`."""
    return [waveform, *play_at(speeds, waveform)]
