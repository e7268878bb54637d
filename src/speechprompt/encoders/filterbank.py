"""The base of the encoders without weights: filterbank features of single utterances."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.encoders.base import Encoder
from speechprompt.storage.hashes import sha256_json

__all__ = ["WINDOW", "FilterbankEncoder"]

WINDOW = SAMPLE_RATE * 25 // 1000


class FilterbankEncoder(Encoder):
    """Acoustic features of 25 ms windows, without weights.

    Args:
        settings: All settings that decide the output, as JSON values.
        device: Torch device.
    """

    layer = None

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        self.device = torch.device(device)
        self.sha256 = sha256_json({"kind": self.kind, **settings})

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Encoder.encode`; each utterance is encoded by itself."""
        frames = []
        for waveform in waveforms:
            padded = functional.pad(waveform, (0, max(0, WINDOW - len(waveform))))
            frames.append(self.encode_one(padded.to(self.device)).cpu())
        return frames

    @abstractmethod
    def encode_one(self, waveform: Tensor) -> Tensor:
        """Frames ``[n_frames, D]`` of a waveform that is at least as long as a window."""
