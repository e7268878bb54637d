"""GSLM's log-mel filterbank, its encoder without weights (Lakhotia et al., 2021).

``LogMelFeatureReader`` of fairseq
(``examples/textless_nlp/gslm/speech2unit/pretrained/logmel_feature_reader.py``) calls torchaudio's
``fbank`` of Kaldi with 80 bands and 25 ms windows. Everything else is the default: a frame every
10 ms, only whole windows, no dither, Povey window, pre-emphasis 0.97, power spectrum, bands from
20 Hz to 8 kHz, natural logarithm. Samples have full scale 1, not Kaldi's 32,768.
"""

from typing import Any

import torch
from torch import Tensor
from torchaudio.compliance import kaldi

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.encoders.filterbank import WINDOW, FilterbankEncoder

__all__ = ["LogMelEncoder"]

SHIFT = SAMPLE_RATE * 10 // 1000
# Frames that are computed at a time, a minute of audio, which bounds the memory.
BLOCK_FRAMES = 6000
SETTINGS: dict[str, Any] = {
    "sample_frequency": float(SAMPLE_RATE),
    "num_mel_bins": 80,
    "frame_length": 25.0,
    "frame_shift": 10.0,
    "dither": 0.0,
    "snip_edges": True,
}


class LogMelEncoder(FilterbankEncoder):
    """80 log-mel energies: D = 80, 100 frames/s, no weights.

    An utterance of n samples has ``1 + (max(n, 400) - 400) // 160`` frames.

    Args:
        device: Torch device.
    """

    kind = "logmel"
    dimension = SETTINGS["num_mel_bins"]
    frame_rate = SAMPLE_RATE / SHIFT

    def __init__(self, *, device: str = "cpu"):
        super().__init__(SETTINGS, device)

    def encode_one(self, waveform: Tensor) -> Tensor:
        """See :meth:`FilterbankEncoder.encode_one`."""
        n_frames = 1 + (len(waveform) - WINDOW) // SHIFT
        starts = range(0, n_frames * SHIFT, BLOCK_FRAMES * SHIFT)
        blocks = [waveform[start:][: (BLOCK_FRAMES - 1) * SHIFT + WINDOW] for start in starts]
        return torch.cat([kaldi.fbank(block[None], **SETTINGS) for block in blocks])
