"""What every encoder offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Encoder"]


class Encoder(ABC):
    """Turns waveforms into frames.

    Attributes:
        kind: Name in the registry.
        dimension: Numbers per frame, D.
        frame_rate: Frames per second.
        layer: Layer that the frames are taken from, counted from 1; None where there are none.
        sha256: Hash of all that decides the output: weights and settings.
        prefers_batches: Whether a batch is faster than its utterances one by one.
    """

    kind: str
    dimension: int
    frame_rate: float
    layer: int | None
    sha256: str
    prefers_batches: bool = False

    @abstractmethod
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Encode one batch; an utterance's frames do not depend on the others beside it.

        Args:
            waveforms: 16 kHz mono float32, each ``[n_samples]``, any mixture of lengths. One that
                is shorter than a window is filled up with zeros.

        Returns:
            Frames of each waveform in the same order, float32 ``[n_frames, D]`` on the CPU,
            ``n_frames >= 1``.
        """
