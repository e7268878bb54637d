"""Recordings made worse, in steps and one way at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import soundfile

from speechprompt.audio.acoustics import add_noise, decaying_noise, make_noise, resize
from speechprompt.audio.reading import SAMPLE_RATE

__all__ = ["CODECS", "CONDITIONS", "Codec", "Condition", "transmit"]

ROOM_SECONDS = 0.8  # of a room's response that are kept


@dataclass(frozen=True)
class Codec:
    """A codec of soundfile.

    Attributes:
        rate: sample rate in Hz.
        container: container format.
        coding: subtype.
        compression: degree of compression from 0 to 1, where there is one.
    """

    rate: int
    container: str
    coding: str
    compression: float | None = None


CODECS = {
    "GSM, 13 kbit/s": Codec(8_000, "WAV", "GSM610"),
    "u-law, 64 kbit/s": Codec(8_000, "WAV", "ULAW"),
    "Opus at 8 kHz, 8 kbit/s": Codec(8_000, "OGG", "OPUS", 1.0),
    "Opus, 8 kbit/s": Codec(16_000, "OGG", "OPUS", 1.0),
    "Opus, 21 kbit/s": Codec(16_000, "OGG", "OPUS", 0.95),
    "MP3, 22 kbit/s": Codec(16_000, "MP3", "MPEG_LAYER_III", 0.99),
}


def transmit(waveform: np.ndarray, codec: Codec) -> np.ndarray:
    """Encode and decode.

    Args:
        waveform: float32 ``[n_samples]`` at 16 kHz, within -1 and 1.
        codec: the codec.

    Returns:
        float32 ``[n_samples]``.
    """
    sent = resize(waveform, -(-len(waveform) * codec.rate // SAMPLE_RATE))
    stream = BytesIO()
    with soundfile.SoundFile(
        stream,
        "w",
        codec.rate,
        1,
        codec.coding,
        format=codec.container,
        compression_level=codec.compression,
    ) as file:
        file.write(sent)
    stream.seek(0)
    received = np.zeros_like(sent)
    decoded, _ = soundfile.read(stream, len(sent), dtype="float32")
    received[: len(decoded)] = decoded
    return resize(received, len(waveform))


@dataclass(frozen=True)
class Condition:
    """One way to make a recording worse, in one step.

    Attributes:
        kind: what is changed, with its unit of measure.
        step: how far, as a number or a name; the steps of a kind go from mild to severe.
        apply: makes a recording, float32 ``[n_samples]`` at 16 kHz, worse; what it draws comes from
            the generator.
    """

    kind: str
    step: str
    apply: Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _noise(snr_db: float) -> Condition:
    def apply(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        noise = make_noise(generator, len(waveform), "pink", SAMPLE_RATE)
        return add_noise(waveform, noise, snr_db, slice(None))

    return Condition("pink noise (dB SNR)", f"{snr_db}", apply)


def _room(seconds: float) -> Condition:
    def apply(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        response = decaying_noise(generator, seconds, min(seconds, ROOM_SECONDS), SAMPLE_RATE)
        response[0] = 1.0
        n = len(waveform) + len(response)
        heard = np.fft.irfft(np.fft.rfft(waveform, n) * np.fft.rfft(response, n), n)
        return heard[: len(waveform)].astype(np.float32)

    return Condition("room (T60 in s)", f"{seconds}", apply)


def _band(rate: int) -> Condition:
    def apply(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return resize(resize(waveform, len(waveform) * rate // SAMPLE_RATE), len(waveform))

    return Condition("sample rate (Hz)", f"{rate}", apply)


def _level(gain_db: float) -> Condition:
    def apply(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        # In 16 bits, as a quiet recording is stored.
        return np.round(waveform * 10 ** (gain_db / 20) * 32768).astype(np.float32) / 32768

    return Condition("level (dB)", f"{gain_db}", apply)


def _clipping(share: float) -> Condition:
    def apply(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        most = share * np.abs(waveform).max()
        return np.clip(waveform, -most, most)

    return Condition("clipping (share of the peak)", f"{share}", apply)


def _codec(name: str) -> Condition:
    def apply(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        scale = max(1.0, float(np.abs(waveform).max()))
        return transmit(waveform / scale, CODECS[name]) * np.float32(scale)

    return Condition("codec", name, apply)


def _speed(factor: float) -> Condition:
    def apply(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return resize(waveform, max(1, round(len(waveform) / factor)))

    return Condition("speed (with pitch)", f"{factor}", apply)


# All conditions; "none" leaves a recording as it is.
CONDITIONS = (
    Condition("none", "", lambda waveform, generator: waveform),
    *map(_noise, (30, 20, 15, 10, 5, 0)),
    *map(_room, (0.2, 0.4, 0.8, 1.5)),
    *map(_band, (11_025, 8_000, 6_000, 4_000)),
    *map(_level, (-20, -40, -60)),
    *map(_clipping, (0.5, 0.2, 0.1, 0.05)),
    *map(_codec, CODECS),
    *map(_speed, (1.1, 1.25, 1.5)),
    *map(_speed, (0.9, 0.8, 0.67)),
)
