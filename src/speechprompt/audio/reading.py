"""Audio files in any format, rate and channel count, as 16 kHz mono float32."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soundfile

from speechprompt.errors import CorpusError

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

__all__ = ["SAMPLE_RATE", "AudioError", "probe_audio", "read_audio", "resample"]

SAMPLE_RATE = 16_000
BLOCK_SAMPLES = 65_536
# Programs that write to a pipe state at least this size, because they do not know it yet.
UNKNOWN_CHUNK_SIZE = 0x7FFF_0000


class AudioError(CorpusError):
    """A file that cannot be used as audio.

    Attributes:
        path: The file.
        reason: One clause saying why, without the path.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def read_audio(path: str | Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Read a whole file; channels are averaged.

    Args:
        path: Any file libsndfile decodes.
        sample_rate: Rate of the result, in Hz.

    Returns:
        float32 ``[n_samples]``, full scale 1.

    Raises:
        AudioError: the file is missing, empty, truncated, not audio, or has samples that are not
            finite.
    """
    blocks, file_rate = [], sample_rate
    for block, file_rate in _decode(path):  # noqa: B007
        blocks.append(block.mean(axis=1, dtype=np.float32))
    return resample(np.concatenate(blocks), file_rate, sample_rate)


def probe_audio(path: str | Path) -> tuple[int, int]:
    """Decode a whole file in constant memory, to find damage before the file is used.

    Returns:
        The file's samples per channel and its sample rate in Hz.

    Raises:
        AudioError: as :func:`read_audio`.
    """
    n_samples, sample_rate = 0, 0
    for block, sample_rate in _decode(path):  # noqa: B007
        n_samples += len(block)
    return n_samples, sample_rate


def resample(waveform: np.ndarray, source_rate: int, target_rate: int) -> np.ndarray:
    """Resample by windowed-sinc interpolation (``torchaudio.functional.resample``).

    The result does not depend on how many threads torch is allowed.

    Args:
        waveform: float32 ``[n_samples]``.
        source_rate: Its rate, in Hz.
        target_rate: Rate of the result, in Hz.

    Returns:
        float32 ``[ceil(n_samples * target_rate / source_rate)]``.
    """
    if source_rate == target_rate:
        return waveform
    import torch

    threads = torch.get_num_threads()
    # The convolution picks its algorithm, and with it the last bits, by the number of threads.
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return _resampler(source_rate, target_rate)(torch.from_numpy(waveform)).numpy()
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=8)
def _resampler(source_rate: int, target_rate: int) -> "Resample":
    """The transform; torchaudio's function would compute its filter at every call."""
    from torchaudio.transforms import Resample

    return Resample(source_rate, target_rate)


def _decode(path: str | Path) -> Iterator[tuple[np.ndarray, int]]:
    """Yield blocks ``[n, channels]`` and the sample rate; an unusable file raises an error."""
    path = Path(path)
    _check_file(path)
    opened, decoded = False, 0
    try:
        with soundfile.SoundFile(path) as stream:
            opened = True
            while len(block := stream.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                if not np.isfinite(block).all():
                    raise AudioError(path, "has samples that are not finite (NaN or infinity)")
                decoded += len(block)
                yield block, stream.samplerate
            promised = stream.frames
    except soundfile.LibsndfileError as error:
        what = "damaged or truncated" if opened else "not audio that libsndfile reads"
        raise AudioError(path, f"{what} ({error.error_string.strip('. ')})") from error
    if decoded == 0:
        raise AudioError(path, "empty: no samples")
    if decoded < promised < 2**48:
        raise AudioError(path, f"truncated: {decoded} of {promised} samples")


def _check_file(path: Path) -> None:
    """Refuse files that libsndfile reports badly, or reads in spite of their damage."""
    if not path.exists():
        raise AudioError(path, "file not found")
    if not path.is_file():
        raise AudioError(path, "not a file")
    try:
        size = path.stat().st_size
        if size == 0:
            raise AudioError(path, "empty: 0 bytes")
        with path.open("rb") as stream:
            missing = _missing_wav_bytes(stream, size)
    except OSError as error:
        raise AudioError(path, f"cannot be opened ({error.strerror})") from error
    if missing:
        raise AudioError(path, f"truncated: {missing} bytes of samples are missing")


def _missing_wav_bytes(stream: BinaryIO, size: int) -> int:
    """Bytes that a WAV header states beyond the end of the file, which libsndfile ignores."""
    header = stream.read(12)
    if header[:4] not in (b"RIFF", b"RIFX") or header[8:] != b"WAVE":
        return 0
    order = "<" if header[:4] == b"RIFF" else ">"
    position = 12
    while len(chunk := stream.read(8)) == 8:
        name, length = struct.unpack(f"{order}4sI", chunk)
        position += 8
        if name == b"data":
            return max(0, position + length - size) if length < UNKNOWN_CHUNK_SIZE else 0
        position += length + length % 2
        stream.seek(position)
    return 0
