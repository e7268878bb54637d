"""Seals: a hash of a file's content inside the file, by which every reader finds damage.

A seal is one line of text: 64 hexadecimal digits between two fixed phrases. The digits are the
SHA-256 of the whole file with zeros in their place. A changed bit is found wherever it is: in the
numbers, in the metadata, or in the seal. A file without a seal is of another program or of an
earlier version.
"""

import hashlib
import os
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

from speechprompt.storage.hashes import identity

__all__ = ["SEAL", "UNSEALED", "DamageError", "is_sealed", "seal"]

# The entry of JSON objects and of safetensors' metadata that holds the seal.
SEAL = "seal"
BEFORE, ZEROS, AFTER = b"sha256 of this file with 64 zeros here: ", b"0" * 64, b" (end of seal)"
# What a writer puts into the file, for :func:`seal` to fill in.
UNSEALED = (BEFORE + ZEROS + AFTER).decode()
# A seal is at most so far from the beginning or the end, besides a header or a footer.
EDGE, LONGEST = 2**20, 2**28
CHUNK = 2**20
_INTACT: set[tuple[int, ...]] = set()


class DamageError(ValueError):
    """A file's content is not what was written."""

    def __init__(self) -> None:
        super().__init__(
            "its content has changed since it was written, as the hash in it shows; restore the "
            "file, or delete it and make it again"
        )


def seal(path: str | Path) -> None:
    """Fill in the seal of a file that has :data:`UNSEALED` in it."""
    with open(path, "r+b") as stream:
        place = _find(stream)
        assert place is not None
        digits = _digits(stream, place)
        stream.seek(place)
        stream.write(digits)


def is_sealed(path: str | Path) -> bool:
    """Check a file's content by its seal.

    Returns:
        Whether it has a seal.

    Raises:
        DamageError: the content is not what was sealed, or the seal itself is damaged.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        state = identity(stream)
        if state in _INTACT:
            return True
        place = _find(stream)
        if place is None:
            return False
        stream.seek(place)
        if stream.read(len(ZEROS)) != _digits(stream, place):
            raise DamageError
    if state is not None:
        _INTACT.add(state)
    return True


def _find(stream: BufferedIOBase) -> int | None:
    """Where the seal's digits begin; None without a seal.

    Raises:
        DamageError: only one of the two phrases is there, or they are not in their places.
    """
    for start, edge in _edges(stream):
        first, last = edge.find(BEFORE), edge.find(AFTER)
        if first >= 0 or last >= 0:
            place = first + len(BEFORE)
            if first < 0 or last != place + len(ZEROS):
                raise DamageError
            return start + place
    return None


def _edges(stream: BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """The beginning of a file and its end, with their places.

    Safetensors say how long their header is, and Parquet how long its footer is.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    header = int.from_bytes(stream.read(8), "little")
    stream.seek(0)
    yield 0, stream.read(EDGE + (header if header < min(size, LONGEST) else 0))
    if size > EDGE:
        stream.seek(-8, os.SEEK_END)
        footer, name = int.from_bytes(stream.read(4), "little"), stream.read(4)
        start = max(0, size - EDGE - (min(footer, LONGEST) if name == b"PAR1" else 0))
        stream.seek(start)
        yield start, stream.read()


def _digits(stream: BufferedIOBase, place: int) -> bytes:
    """The hash of the content as hexadecimal digits, with zeros in the place of the digits."""
    found = hashlib.sha256()
    stream.seek(0)
    for part in _read(stream, place):
        found.update(part)
    found.update(ZEROS)
    stream.seek(len(ZEROS), os.SEEK_CUR)
    for part in _read(stream):
        found.update(part)
    return found.hexdigest().encode()


def _read(stream: BufferedIOBase, left: int | None = None) -> Iterator[memoryview]:
    """Read all that follows, or the next bytes, piece by piece in one buffer."""
    buffer = memoryview(bytearray(CHUNK))
    while left is None or left > 0:
        piece = buffer if left is None else buffer[:left]
        n_read = stream.readinto(piece)
        if not n_read:
            return
        yield piece[:n_read]
        left = None if left is None else left - n_read
