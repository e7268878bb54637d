"""What every encoder offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

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
        batch_seconds: Audio in a batch, padding included, if it prefers batches.
        n_states: Representations of a frame that :meth:`encode_states` gives, S.
        every_layer: Settings with which it is built to give all of them.
    """

    kind: str
    dimension: int
    frame_rate: float
    layer: int | None
    sha256: str
    prefers_batches: bool = False
    batch_seconds: float = 40.0
    n_states: int = 1
    every_layer: ClassVar[Mapping[str, Any]] = {}

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

    def encode_states(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Encode one batch; every representation of a frame that a weighted sum may take.

        Args:
            waveforms: See :meth:`encode`.

        Returns:
            Of each waveform ``[S, n_frames, D]``, where the encoder computes; the last of the S is
            what :meth:`encode` gives.
        """
        return [frames[None] for frames in self.encode(waveforms)]
