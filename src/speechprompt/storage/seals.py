"""Seals: a hash of a file's content inside the file, by which every reader finds damage.

A seal is one line of text: hexadecimal digits between two fixed phrases. The digits are a hash of
the whole file with zeros in their place. A changed bit is found wherever it is: in the numbers, in
the metadata, or in the seal. A file without a seal is of another program or of an earlier version.

The hash is XXH3 with 128 bits. It takes hardly any time beside reading, and finds damage but not
intent. Where a file must be a certain one, its SHA-256 is compared
(:mod:`speechprompt.storage.hashes`). Seals of SHA-256, which were written before, are checked too.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from speechprompt.storage.hashes import identity

__all__ = ["SEAL", "UNSEALED", "DamageError", "GradualCheck", "is_sealed", "seal"]

# The entry of JSON objects and of safetensors' metadata that holds the seal.
SEAL = "seal"
# The phrase before the digits, how many digits there are, and the hash.
KINDS: list[tuple[bytes, int, Callable[[], Any]]] = [
    (b"xxh3-128 of this file with 32 zeros here: ", 32, xxhash.xxh3_128),
    (b"sha256 of this file with 64 zeros here: ", 64, hashlib.sha256),
]
AFTER = b" (end of seal)"
# What a writer puts into the file, for :func:`seal` to fill in.
UNSEALED = (KINDS[0][0] + b"0" * KINDS[0][1] + AFTER).decode()
# A seal is at most so far from the beginning or the end, besides a header or a footer.
EDGE, LONGEST = 2**20, 2**28
# So that a piece is still in the processor's cache when it is hashed.
CHUNK = 2**18
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
        found = _find(stream)
        assert found is not None
        digits = _digits(stream, found)
        stream.seek(found.place)
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
        found = _find(stream)
        if found is None:
            return False
        stream.seek(found.place)
        if stream.read(found.length) != _digits(stream, found):
            raise DamageError
    if state is not None:
        _INTACT.add(state)
    return True


class GradualCheck:
    """Checks a file by its seal while it is read, so that no byte is read twice for it.

    Args:
        path: the file.

    Attributes:
        stream: the file, for one reader at a time.

    Raises:
        DamageError: the seal is damaged.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.stream = open(path, "rb")  # noqa: SIM115
        self._state = identity(self.stream)
        self._seal = None if self._state in _INTACT else _find(self.stream)
        self._content: Any = self._seal and self._seal.new_hash()
        self._n_hashed = 0

    def add(self, start: int, part: memoryview) -> None:
        """Take note of bytes that were read, and move on behind them.

        They are hashed if they go on where the last ones ended, or nearly so. What a reader leaves
        out, or reads out of turn, is read again in the end.
        """
        end = start + len(part)
        stop = min(end, self._seal.place) if self._seal else 0
        if max(start, self._n_hashed) < stop and start <= self._n_hashed + CHUNK:
            self.stream.seek(self._n_hashed)
            for between in _read(self.stream, start - self._n_hashed):
                self._content.update(between)
                self._n_hashed += len(between)
            self._content.update(part[self._n_hashed - start : stop - start])
            self._n_hashed = stop
        self.stream.seek(end)

    def finish(self) -> None:
        """Read the rest, and compare.

        Raises:
            DamageError: the content is not what was sealed.
            OSError: the file cannot be read.
        """
        if self._seal:
            self.stream.seek(self._seal.place)
            digits = self.stream.read(self._seal.length)
            if digits != _digits(self.stream, self._seal, self._content, self._n_hashed):
                raise DamageError
            if self._state is not None:
                _INTACT.add(self._state)
            self._seal = None


class _Seal(NamedTuple):
    """Where a seal's digits begin, how many there are, and the hash."""

    place: int
    length: int
    new_hash: Callable[[], Any]


def _find(stream: BufferedIOBase) -> _Seal | None:
    """Find the seal; None without one.

    Raises:
        DamageError: only one of the two phrases is there, or they are not in their places.
    """
    for start, edge in _edges(stream):
        last = edge.find(AFTER)
        for before, length, new_hash in KINDS:
            if (first := edge.find(before)) >= 0:
                place = first + len(before)
                if last != place + length:
                    raise DamageError
                return _Seal(start + place, length, new_hash)
        if last >= 0:
            raise DamageError
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


def _digits(stream: BufferedIOBase, found: _Seal, content: Any = None, n_hashed: int = 0) -> bytes:
    """The hash of the content as hexadecimal digits, with zeros in the place of the digits.

    ``content`` is the hash of the first ``n_hashed`` bytes, which are in front of the digits.
    """
    content = content or found.new_hash()
    stream.seek(n_hashed)
    for part in _read(stream, found.place - n_hashed):
        content.update(part)
    content.update(b"0" * found.length)
    stream.seek(found.length, os.SEEK_CUR)
    for part in _read(stream):
        content.update(part)
    return content.hexdigest().encode()


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
