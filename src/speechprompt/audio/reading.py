"""Audio files in any format, rate and channel count, as 16 kHz mono float32."""

import hashlib
import io
import math
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soundfile

from speechprompt.audio.embedded import read_embedded
from speechprompt.audio.places import Place
from speechprompt.audio.remainder import find_remainder
from speechprompt.audio.stated_size import missing_bytes
from speechprompt.errors import CorpusError

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

__all__ = [
    "BLOCK_SAMPLES",
    "MAX_SECONDS",
    "SAMPLE_RATE",
    "AudioError",
    "check_samples",
    "probe_audio",
    "probe_content",
    "read_audio",
    "read_blocks",
    "read_content",
    "resample",
    "small_terms",
]

SAMPLE_RATE = 16_000
BLOCK_SAMPLES = 65_536
# The longest recording, which bounds memory. A unit LM has room for a few minutes at most, and
# windows of a longer recording would get other units than the whole (docs/reliability.md).
MAX_SECONDS = 400
LARGEST_RATE = 192_000
# Times of utterances are rounded, so that the last may end behind the recording by this much.
OVERSHOOT_SECONDS = 0.02
# Terms of a ratio of rates; the ratios of all usual rates have smaller ones.
LARGEST_TERM = 2500
# Samples of full scale are 1, or 2^31 where a program has written integers of 32 bits as floats.
LARGEST_SAMPLE = 2.0**31
# libsndfile states more samples than this where a file does not say how many it has.
UNKNOWN_LENGTH = 2**48


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


def read_content(content: bytes, name: str) -> np.ndarray:
    """Do :func:`read_audio` with the bytes of a file, which messages call by a name."""
    return _joined(_decode(name, content=content))


def read_audio(path: str | Path) -> np.ndarray:
    """Read a whole file or a part of it; channels are averaged.

    Args:
        path: Any file libsndfile decodes, or a :class:`~speechprompt.audio.places.Place` in one.

    Returns:
        float32 ``[n_samples]`` at 16 kHz, full scale 1.

    Raises:
        AudioError: the file is missing, empty, truncated, not audio, longer than
            :data:`MAX_SECONDS`, read in part only, or has samples that are not finite.
    """
    return _joined(_decode(path))


def _joined(decoded: Iterator[tuple[np.ndarray, int]]) -> np.ndarray:
    """One channel at 16 kHz of all blocks."""
    blocks, rate = [], SAMPLE_RATE
    for block, rate in decoded:  # noqa: B007
        blocks.append(block.mean(axis=1, dtype=np.float32))
    return resample(np.concatenate(blocks), rate, SAMPLE_RATE)


def read_blocks(path: str | Path, content: bytes | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Read a recording of any length in constant memory.

    Args:
        path: as for :func:`read_audio`.
        content: the bytes of a file, which messages then call ``path``.

    Yields:
        Blocks of samples with channels averaged, float32 ``[n]``, and their sample rate in Hz.

    Raises:
        AudioError: as :func:`read_audio`; that the recording is damaged may be found at its end.
    """
    for block, rate in _decode(path, math.inf, content):
        yield block.mean(axis=1, dtype=np.float32), rate


def probe_audio(path: str | Path) -> tuple[int, int]:
    """Decode a whole file in constant memory, to find damage before the file is used.

    Returns:
        The file's samples per channel and its sample rate in Hz.

    Raises:
        AudioError: as :func:`read_audio`.
    """
    return probe_content(path)[:2]


def probe_content(path: str | Path) -> tuple[int, int, bytes]:
    """Do :func:`probe_audio`, and compute a hash of the samples too.

    The hash is that of the decoded samples, so that a copy in another lossless format has it too.
    """
    n_samples, sample_rate = 0, 0
    digest = hashlib.blake2b(digest_size=16)
    for block, sample_rate in _decode(path):  # noqa: B007
        n_samples += len(block)
        digest.update(block.data)
    return n_samples, sample_rate, digest.digest()


def resample(waveform: np.ndarray, source_rate: int, target_rate: int) -> np.ndarray:
    """Resample by windowed-sinc interpolation (``torchaudio.functional.resample``).

    The result does not depend on how many threads torch is allowed. Its filter grows with the
    terms of the reduced ratio of the rates. A ratio with terms above :data:`LARGEST_TERM`, such as
    16,000 : 11,127, is therefore replaced by the nearest one without. The result then runs fast or
    slow by less than one part in 2,500, and for most rates by far less.

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
            rates = small_terms(source_rate, target_rate)
            return _resampler(*rates)(torch.from_numpy(waveform)).numpy()
    finally:
        torch.set_num_threads(threads)


def small_terms(source_rate: int, target_rate: int) -> tuple[int, int]:
    """Rates whose reduced ratio has small terms; the given ones, if theirs has."""
    ratio = Fraction(target_rate, source_rate)
    if max(ratio.numerator, ratio.denominator) <= LARGEST_TERM:
        return source_rate, target_rate
    share = min(ratio, 1 / ratio)
    near = share.limit_denominator(LARGEST_TERM) or Fraction(1, round(1 / share))
    terms = near.denominator, near.numerator
    return terms if ratio < 1 else terms[::-1]


def check_samples(path: str | Path, samples: np.ndarray) -> None:
    """Raise an AudioError where a sample is not finite, or beyond every full scale."""
    if not np.isfinite(samples).all():
        raise AudioError(path, "has samples that are not finite (NaN or infinity)")
    if (peak := float(np.abs(samples).max(initial=0))) > LARGEST_SAMPLE:
        raise AudioError(path, f"has a sample of {peak:.0e}, where full scale is 1")


@lru_cache(maxsize=8)
def _resampler(source_rate: int, target_rate: int) -> "Resample":
    """The transform; torchaudio's function would compute its filter at every call."""
    from torchaudio.transforms import Resample

    return Resample(source_rate, target_rate)


def _decode(
    path: str | Path, most_seconds: float | None = None, content: bytes | None = None
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield blocks ``[n, channels]`` and the sample rate; an unusable file raises an error.

    This is the only check of a recording, whatever it is read for. Memory is that of a block.
    """
    path, place = Path(path), Place.at(path)
    if place.row is not None:
        content = _embedded(path, place)
    file = Path(place.file)
    size = _check_file(path, file) if content is None else _check_size(path, content)
    opened, decoded = False, 0
    try:
        # Bytes, because a name need not be text.
        source = os.fsencode(file) if content is None else io.BytesIO(content)
        with soundfile.SoundFile(source) as stream:
            opened, promised, rate = True, stream.frames, stream.samplerate
            first, last = _samples_of(path, place, stream)
            # The most samples of a recording; its length is not always known beforehand.
            longest = MAX_SECONDS if most_seconds is None else most_seconds
            most = longest * min(rate, LARGEST_RATE)
            if most < last - first < UNKNOWN_LENGTH:
                raise _too_long(path, last - first, rate)
            _seek(stream, first)
            length = max(1, BLOCK_SAMPLES // stream.channels)
            while wanted := min(length, last - first - decoded) if place.is_cut else length:
                block = stream.read(wanted, dtype="float32", always_2d=True)
                if not len(block):
                    break
                if place.channel is not None:
                    block = np.ascontiguousarray(block[:, place.channel, None])
                check_samples(path, block)
                decoded += len(block)
                if decoded > most:
                    raise _too_long(path, decoded, rate)
                yield block, rate
    except soundfile.LibsndfileError as error:
        what = "damaged or truncated" if opened else "not audio that libsndfile reads"
        raise AudioError(path, f"{what} ({error.error_string.strip('. ')})") from error
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        # The binding refuses .raw, which has no header, with errors of its own.
        raise AudioError(path, f"not audio that libsndfile reads ({error})") from error
    if decoded == 0:
        raise AudioError(path, "empty: no samples")
    if decoded < last - first < UNKNOWN_LENGTH:
        raise AudioError(path, f"truncated: {decoded} of {last - first} samples")
    if content is not None:
        # What is behind a part says nothing of it, so that its end need not be known.
        remainder = find_remainder(content, promised if place.is_cut else decoded)
    elif place.is_cut:
        remainder = _remainder_of(file, size, os.stat(file).st_mtime_ns, promised)
    else:
        remainder = _remainder(path, file, size, decoded)
    if remainder:
        raise AudioError(path, f"read in part only: {remainder}")


def _embedded(path: Path, place: Place) -> bytes:
    """The bytes of a recording inside a Parquet file."""
    try:
        return read_embedded(place)
    except (OSError, ValueError) as error:
        raise AudioError(path, str(error)) from error


def _samples_of(path: Path, place: Place, stream: soundfile.SoundFile) -> tuple[int, int]:
    """The first sample of a place and the one behind its last, as far as that is known."""
    if place.channel is not None and place.channel >= stream.channels:
        raise AudioError(path, f"has no channel {place.channel}, only {stream.channels} from 0")
    if not place.is_cut:
        return 0, stream.frames
    rate, length = stream.samplerate, stream.frames
    first = _nearest_sample(place.start, rate)
    last = length if place.end is None else _nearest_sample(place.end, rate)
    if first >= length or last > length + OVERSHOOT_SECONDS * rate:
        wrong = "starts" if first >= length else "ends"
        raise AudioError(path, f"{wrong} after the end of the recording at {length / rate:.3f} s")
    if first >= last:
        raise AudioError(path, "has no samples between its start and its end")
    return first, min(last, length)


def _nearest_sample(seconds: float, rate: int) -> int:
    """The sample at a time; a time beyond all recordings is beyond the end of any."""
    return math.floor(min(seconds * rate, UNKNOWN_LENGTH - 1) + 0.5)


def _seek(stream: soundfile.SoundFile, first: int) -> None:
    """Go to a sample; where the format has no index, all before it are decoded."""
    if stream.seekable():
        stream.seek(first)
        return
    while first > 0 and (n_read := len(stream.read(min(first, BLOCK_SAMPLES), always_2d=True))):
        first -= n_read


def _remainder(path: Path, file: Path, size: int, n_samples: int) -> str | None:
    """Say what a file has that was not read."""
    with (
        _opened(path, file) as stream,
        mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ) as content,
    ):
        return find_remainder(content, n_samples)


@lru_cache(maxsize=4096)
def _remainder_of(file: Path, size: int, changed: int, n_samples: int) -> str | None:
    """Do :func:`_remainder` once for all the utterances in a file, until the file changes."""
    if n_samples >= UNKNOWN_LENGTH:
        with soundfile.SoundFile(os.fsencode(file)) as stream:
            n_samples = sum(map(len, stream.blocks(BLOCK_SAMPLES, dtype="float32")))
    return _remainder(file, file, size, n_samples)


def _too_long(path: Path, n_samples: int, rate: int) -> AudioError:
    seconds = n_samples / rate
    if seconds <= MAX_SECONDS:
        return AudioError(path, f"has more than {LARGEST_RATE:,} samples a second ({rate:,})")
    most = f"an utterance has at most {MAX_SECONDS:.0f} s, cut it at pauses"
    return AudioError(path, f"{seconds:.0f} s long; {most}")


def _check_file(path: Path, file: Path) -> int:
    """Refuse what cannot be a recording before it is opened, and files that were cut.

    Args:
        path: the place in the file, for messages.
        file: the file.

    Returns:
        The bytes of the file.
    """
    try:
        status = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        dangles = os.path.islink(file)
        why = "file not found" + (f" (a link to {os.readlink(file)})" if dangles else "")
        raise AudioError(path, why) from None
    except OSError as error:
        raise AudioError(path, f"cannot be opened ({error.strerror})") from error
    except ValueError as error:
        raise AudioError(path, f"not a possible name of a file ({error})") from error
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise AudioError(path, f"not a file but {kind}")
    if status.st_size == 0:
        raise AudioError(path, "empty: 0 bytes")
    with _opened(path, file) as stream:
        _check_whole(path, stream, status.st_size)
    return status.st_size


def _check_size(path: Path, content: bytes) -> int:
    """Do :func:`_check_file` for the bytes of a recording."""
    if not content:
        raise AudioError(path, "empty: 0 bytes")
    _check_whole(path, io.BytesIO(content), len(content))
    return len(content)


def _check_whole(path: Path, stream: BinaryIO, size: int) -> None:
    if missing := missing_bytes(stream, size):
        raise AudioError(path, f"truncated: {missing} bytes of samples are missing")


@contextmanager
def _opened(path: Path, file: Path) -> Iterator[BinaryIO]:
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise AudioError(path, f"cannot be opened ({error.strerror})") from error
