"""What encoders without weights share: filterbank features, computed utterance by utterance."""

from __future__ import annotations

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
        settings: All that decides the output, as JSON values.
        device: Torch device.
    """

    layer = None

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        self.device = torch.device(device)
        self.sha256 = sha256_json({"kind": self.kind, **settings})

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Encoder.encode`; each utterance is computed on its own."""
        filled = (_fill_up(waveform.to(self.device)) for waveform in waveforms)
        return [self.encode_one(waveform).cpu() for waveform in filled]

    @abstractmethod
    def encode_one(self, waveform: Tensor) -> Tensor:
        """Frames ``[n_frames, D]`` of a waveform of at least a window."""


def _fill_up(waveform: Tensor) -> Tensor:
    return functional.pad(waveform, (0, max(0, WINDOW - len(waveform))))
