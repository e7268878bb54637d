"""Batches of utterances of similar length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.encoders.base import Encoder

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["batch_by_length", "encode_in_batches"]


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
    encode = encoder.encode_states if states else encoder.encode
    lengths = [len(waveform) for waveform in waveforms]
    frames: dict[int, Tensor] = {}
    seconds = encoder.batch_seconds if encoder.prefers_batches else 0.0
    for batch in batch_by_length(lengths, int(seconds * SAMPLE_RATE)):
        encoded = encode([waveforms[index] for index in batch])
        frames.update(zip(batch, encoded, strict=True))
    return [frames[index] for index in range(len(waveforms))]
