"""How many bytes of samples a file says that it has, in formats whose header states it.

libsndfile reads what there is, so that a file that was cut is a shorter recording to it.
"""

import math
import re
import struct
from typing import BinaryIO, NamedTuple

__all__ = ["NIST_HEADER", "UNKNOWN_CHUNK_SIZE", "missing_bytes", "nist_end"]

# Programs that write to a pipe state at least this size, because they do not know it yet.
UNKNOWN_CHUNK_SIZE = 0x7EFF_0000
# A 64-bit field holds the same sizes for "unknown", or one beyond all files.
LARGEST_SIZE = 2**48
# No header of NIST SPHERE is longer; nearly all have 1,024 bytes.
NIST_HEADER = 16_384
NIST_CODINGS = (b"pcm", b"ulaw", b"mu-law", b"alaw")


class _Chunks(NamedTuple):
    """How a container has its chunks.

    Attributes:
        first: where the first one begins.
        head: struct of a name and a length.
        counted: bytes of the head that are part of the length.
        multiple: chunks are filled up to a multiple of this many bytes.
    """

    first: int
    head: str
    counted: int
    multiple: int


CHUNKS = {
    b"RIFF": _Chunks(12, "<4sI", 0, 2),
    b"RIFX": _Chunks(12, ">4sI", 0, 2),
    b"RF64": _Chunks(12, "<4sI", 0, 2),
    b"FORM": _Chunks(12, ">4sI", 0, 2),
    b"caff": _Chunks(8, ">4sq", 0, 1),
    b"riff": _Chunks(40, "<16sQ", 24, 8),
}


def missing_bytes(stream: BinaryIO, size: int) -> int:
    """Bytes of samples that a header states beyond the end of the file.

    Args:
        stream: a recording in any format, at its start.
        size: the bytes that it has.

    Returns:
        Their number; 0 for a whole file and where the format does not state it.
    """
    start = stream.read(12)
    if chunks := CHUNKS.get(start[:4]):
        end = _end_of_data(stream, size, chunks)
    elif start[:4] in (b".snd", b"dns.") and len(start) == 12:
        position, length = struct.unpack(">II" if start[:4] == b".snd" else "<II", start[4:])
        end = position + length if _is_known(length) else None
    else:
        end = nist_end(start + stream.read(NIST_HEADER - 12)) if start[:4] == b"NIST" else None
    return 0 if end is None else max(0, end - size)


def nist_end(header: bytes) -> int | None:
    """Where the samples of a NIST SPHERE file end; None if it is compressed or does not say it.

    Args:
        header: the first :data:`NIST_HEADER` bytes of the file, or more.
    """
    lines = header.partition(b"\nend_head")[0]
    fields = {b"sample_coding": b"pcm", b"channel_count": b"1"}
    fields.update(re.findall(rb"^(\w+) -\w+ (\S+)", lines, re.MULTILINE))
    if fields[b"sample_coding"] not in NIST_CODINGS:
        return None
    try:
        names = (b"sample_count", b"channel_count", b"sample_n_bytes")
        length = math.prod(int(fields[name]) for name in names)
        return int(header[8:16]) + length if _is_known(length) else None
    except (KeyError, ValueError):
        return None


def _end_of_data(stream: BinaryIO, size: int, chunks: _Chunks) -> int | None:
    """Where the chunk of the samples ends; None if that is not stated."""
    position, long_length = chunks.first, 0
    n_bytes = struct.calcsize(chunks.head)
    while 0 <= position < size:
        stream.seek(position)
        head = stream.read(n_bytes)
        if len(head) < n_bytes:
            return None
        name, length = struct.unpack(chunks.head, head)
        if name == b"ds64":  # the sizes of the file and of its data, where 32 bits are too few
            long_length = int.from_bytes(stream.read(16)[8:], "little")
        if name[:4] in (b"data", b"SSND"):
            length = long_length if length == 0xFFFF_FFFF and long_length else length
            return position + n_bytes - chunks.counted + length if _is_known(length) else None
        if length < chunks.counted:
            return None
        end = position + n_bytes - chunks.counted + length
        position = end + -length % chunks.multiple
    return None


def _is_known(length: int) -> bool:
    return 0 < length < UNKNOWN_CHUNK_SIZE or 0xFFFF_FFFF < length < LARGEST_SIZE
