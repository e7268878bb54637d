"""What the convolutions in front of an encoder such as HuBERT make of audio at 16 kHz."""

import math
from collections.abc import Sequence

__all__ = [
    "FRAME_RATE",
    "FRAME_SHIFT",
    "FRAME_WINDOW",
    "MEL_PHASES",
    "MEL_RANGE_HZ",
    "SHORTEST_MEL_FILTER",
    "window_and_shift",
]

# Samples that a frame of HuBERT depends on, and samples from one frame to the next.
FRAME_WINDOW, FRAME_SHIFT = 400, 320
FRAME_RATE = 50.0
# Filters evenly spaced in mel: their frequencies, and how many have the same frequency. These are
# cosine and sine, each with both signs, so that the rectifying GELU loses nothing of the wave.
MEL_RANGE_HZ = (80.0, 7600.0)
MEL_PHASES = 4
# Half a period of the lowest frequency, in samples.
SHORTEST_MEL_FILTER = 100


def window_and_shift(conv_layers: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Number of samples that a frame depends on, and number from one frame to the next.

    Args:
        conv_layers: channels, kernel and stride of each convolution.
    """
    window = 1
    for _, kernel, stride in reversed(conv_layers):
        window = (window - 1) * stride + kernel
    return window, math.prod(stride for _, _, stride in conv_layers)
