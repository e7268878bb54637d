"""MFCC with deltas and delta-deltas, the features of HuBERT's first clustering.

HuBERT (Hsu et al., 2021) clusters 13 coefficients and their first and second derivatives. Here a
frame comes every 20 ms, which is the rate of HuBERT's output, instead of every 10 ms.
"""

from typing import Any

import torch
import torchaudio
from torch import Tensor
from torchaudio.compliance import kaldi

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.encoders.filterbank import FilterbankEncoder

__all__ = ["MfccEncoder"]

SHIFT = SAMPLE_RATE * 20 // 1000
SETTINGS: dict[str, Any] = {
    "sample_frequency": float(SAMPLE_RATE),
    "frame_length": 25.0,
    "frame_shift": 20.0,
    "num_ceps": 13,
    "num_mel_bins": 23,
    "use_energy": False,
    "dither": 0.0,
    "snip_edges": True,
}
# In digital silence, a dimension varies by rounding only. Its deviation is taken to be at least
# this, so that the normalisation does not amplify the rounding.
MIN_DEVIATION = 0.01


class MfccEncoder(FilterbankEncoder):
    """13 coefficients, deltas and delta-deltas: D = 39, 50 frames/s, no weights.

    An utterance of n samples has ``1 + (max(n, 400) - 400) // 320`` frames, as many as HuBERT
    gives.

    Args:
        cmvn: Whether to normalise each dimension to mean 0 and variance 1 over the utterance. This
            removes much of the voice and the microphone. It also gives weight to the derivatives in
            distances, which the first coefficients dominate otherwise. For ten spoken digits it
            raises the accuracy on unseen speakers (logistic regression on units) from 41 % to 73 %.
        device: Torch device.
    """

    kind = "mfcc"
    dimension = 3 * SETTINGS["num_ceps"]
    frame_rate = SAMPLE_RATE / SHIFT

    def __init__(self, *, cmvn: bool = True, device: str = "cpu"):
        self.cmvn = cmvn
        super().__init__({"cmvn": cmvn, "min_deviation": MIN_DEVIATION, **SETTINGS}, device)

    def encode_one(self, waveform: Tensor) -> Tensor:
        """See :meth:`FilterbankEncoder.encode_one`."""
        static = kaldi.mfcc(waveform[None], **SETTINGS).T  # (13, n_frames)
        delta = torchaudio.functional.compute_deltas(static)
        frames = torch.cat([static, delta, torchaudio.functional.compute_deltas(delta)]).T
        if self.cmvn:
            deviation, mean = torch.std_mean(frames, dim=0, correction=0)
            frames = (frames - mean) / deviation.clamp(min=MIN_DEVIATION)
        return frames.contiguous()
