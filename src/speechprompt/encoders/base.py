"""The interface of all encoders, and batches of utterances of similar length for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Encoder", "batch_by_length", "encode_in_batches"]


class Encoder(ABC):
    """Turns waveforms into frames.

    Attributes:
        kind: Its name in the configuration.
        dimension: Numbers per frame, D.
        frame_rate: Frames per second.
        layer: Layer that gives the frames, counted from 1; None for an encoder without layers.
        sha256: Hash of all that decides the output: weights and settings.
        prefers_batches: Whether a batch is faster than its utterances one by one.
        batch_seconds: Audio in a batch, padding included, if it prefers batches.
        readers: Threads that read audio ahead of it; on a CPU they would only compete with it.
        n_states: Number S of the representations of a frame in :meth:`encode_states`.
        every_layer: Settings that make :meth:`encode_states` give those of all layers.
    """

    kind: str
    dimension: int
    frame_rate: float
    layer: int | None
    sha256: str
    prefers_batches: bool = False
    batch_seconds: float = 40.0
    readers: int = 0
    n_states: int = 1
    every_layer: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Encode one batch; an utterance's frames do not depend on the rest of the batch.

        Args:
            waveforms: 16 kHz mono float32, each ``[n_samples]``, of any lengths. A waveform that is
                shorter than a window is padded with zeros.

        Returns:
            The frames of each waveform in the same order, float32 ``[n_frames, D]`` on the CPU,
            ``n_frames >= 1``.
        """

    def encode_states(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Encode one batch into all representations of its frames, for a weighted sum of them.

        Args:
            waveforms: See :meth:`encode`.

        Returns:
            ``[S, n_frames, D]`` for each waveform, on the encoder's device. The last of the S
            representations is that of :meth:`encode`.
        """
        return [frames[None] for frames in self.encode(waveforms)]


def batch_by_length(lengths: Sequence[int], max_samples: int) -> list[list[int]]:
    """Group utterances of similar length.

    Args:
        lengths: Samples of each utterance.
        max_samples: The most samples of a batch, padding included. A longer utterance is a batch of
            its own.

    Returns:
        Batches of indices into ``lengths``, each exactly once, shortest utterances first.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        # The utterances are sorted, so that the newest is the longest and sets the padded length.
        if batches and (len(batches[-1]) + 1) * lengths[index] <= max_samples:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def encode_in_batches(
    encoder: Encoder, waveforms: Sequence[Tensor], *, states: bool = False
) -> list[Tensor]:
    """Encode waveforms ``[n_samples]`` and return their frames in the given order.

    Args:
        encoder: The encoder. Unless it prefers batches, it gets one utterance at a time.
        waveforms: 16 kHz mono float32.
        states: Whether to return all representations, see :meth:`Encoder.encode_states`.
    """
    # A plan imports this module too, and needs no audio.
    from speechprompt.audio.reading import SAMPLE_RATE

    encode = encoder.encode_states if states else encoder.encode
    lengths = [len(waveform) for waveform in waveforms]
    frames: dict[int, Tensor] = {}
    seconds = encoder.batch_seconds if encoder.prefers_batches else 0.0
    for batch in batch_by_length(lengths, int(seconds * SAMPLE_RATE)):
        encoded = encode([waveforms[index] for index in batch])
        frames.update(zip(batch, encoded, strict=True))
    return [frames[index] for index in range(len(waveforms))]
