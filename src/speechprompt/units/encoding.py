"""Audio to units in one step: an encoder with its codebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from speechprompt.audio.speed import with_renditions
from speechprompt.audio.waveforms import Audio, as_waveform
from speechprompt.encoders.base import Encoder, encode_in_batches
from speechprompt.errors import CorpusError, SpeechPromptError
from speechprompt.units.codebook import Codebook
from speechprompt.units.quantization import quantize

__all__ = ["EncodedUnits", "UnitEncoder"]


@dataclass(frozen=True, eq=False, repr=False)
class EncodedUnits:
    """The units of an utterance.

    Attributes:
        units: units 0..K-1, int16 ``[n]``.
        durations: frames of each unit, int16 ``[n]``.
        frame_rate: frames per second.
        renditions: its units at other speeds, by speed.
    """

    units: np.ndarray
    durations: np.ndarray
    frame_rate: float
    renditions: Mapping[float, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.units)

    @property
    def n_frames(self) -> int:
        """Number of frames, the sum of the durations."""
        return int(self.durations.sum(dtype=np.int64))

    @property
    def times(self) -> np.ndarray:
        """Start and end of each unit in seconds, ``[n, 2]``."""
        ends = self.durations.cumsum(dtype=np.int64) / self.frame_rate
        return np.stack((np.concatenate(([0.0], ends[:-1])), ends), axis=1)

    def __repr__(self) -> str:
        shown = " ".join(map(str, self.units[:8].tolist()))
        more = " …" if len(self) > 8 else ""
        return f"<{len(self)} units in {self.n_frames / self.frame_rate:.2f} s: {shown}{more}>"


@dataclass(frozen=True, eq=False, repr=False)
class UnitEncoder:
    """Turns audio into units, as the pipeline does.

    Attributes:
        encoder: the encoder of frames.
        codebook: its codebook.
        deduplicate: whether repeated units are collapsed.
    """

    encoder: Encoder
    codebook: Codebook
    deduplicate: bool = True

    @property
    def n_units(self) -> int:
        """K."""
        return self.codebook.n_units

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.encoder.frame_rate

    def encode(self, audio: Audio, rate: int | None = None) -> EncodedUnits:
        """Encode one utterance.

        Args:
            audio: a path, a file object, or samples as an array or a tensor.
            rate: sample rate of samples in Hz; files have their own.

        Raises:
            AudioError: the audio cannot be used.
            CorpusError: its frames are not finite, or a run of one unit is too long.
        """
        (found,) = self.encode_waveforms([as_waveform(audio, rate)])
        if isinstance(found, SpeechPromptError):
            raise found
        return found

    def encode_waveforms(
        self, waveforms: Sequence[np.ndarray], speeds: Sequence[float] = ()
    ) -> list[EncodedUnits | SpeechPromptError]:
        """Encode utterances in batches; an error stands in the place of one that has no units.

        Args:
            waveforms: float32 ``[n_samples]`` each, at 16 kHz.
            speeds: further speeds that each is played at.
        """
        import torch

        played = [each for one in waveforms for each in with_renditions(one, speeds)]
        frames = encode_in_batches(self.encoder, [torch.from_numpy(one) for one in played])
        return self.quantise([frame.numpy() for frame in frames], speeds)

    def quantise(
        self, frames: Sequence[np.ndarray], speeds: Sequence[float] = ()
    ) -> list[EncodedUnits | SpeechPromptError]:
        """Quantise frames ``[n_frames, D]`` of each utterance, in 16 bits as the pipeline does.

        Args:
            frames: those of an utterance and, behind them, of its renditions.
            speeds: the renditions' speeds.
        """
        from threadpoolctl import threadpool_limits

        # One thread, as in the pipeline, so that rounding is the same everywhere.
        with threadpool_limits(limits=1):
            found = [self._quantise(frame) for frame in frames]
        n = 1 + len(speeds)
        return [_gather(found[i], speeds, found[i + 1 : i + n]) for i in range(0, len(found), n)]

    def _quantise(self, frames: np.ndarray) -> EncodedUnits | SpeechPromptError:
        with np.errstate(over="ignore"):
            frames = frames.astype(np.float16)
        if not np.isfinite(frames).all():
            return CorpusError("its frames are not finite in 16 bits")
        try:
            units, durations = quantize(frames, self.codebook, self.deduplicate)
        except SpeechPromptError as error:
            return error
        return EncodedUnits(units, durations, self.frame_rate)

    def __repr__(self) -> str:
        layer = "" if self.encoder.layer is None else f" layer {self.encoder.layer},"
        rate = f"{self.frame_rate:g} frames/s"
        return f"<Encoder: {self.encoder.kind},{layer} {self.n_units} units, {rate}>"


def _gather(
    found: EncodedUnits | SpeechPromptError,
    speeds: Sequence[float],
    renditions: Sequence[EncodedUnits | SpeechPromptError],
) -> EncodedUnits | SpeechPromptError:
    """An utterance with its renditions; one that has no units is an error as a whole."""
    played: dict[float, np.ndarray] = {}
    for speed, rendition in zip(speeds, renditions, strict=True):
        if isinstance(rendition, SpeechPromptError):
            return rendition
        played[speed] = rendition.units
    if isinstance(found, SpeechPromptError) or not played:
        return found
    return replace(found, renditions=played)
