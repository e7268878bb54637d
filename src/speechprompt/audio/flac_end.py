"""Where a stream of FLAC ends, which its header does not say.

The last frame is found by its number, and its end by the checksum there (RFC 9639, section 9).
"""

import mmap
from collections.abc import Iterator

__all__ = ["flac_ends"]

BLOCK_SIZES = (0, 192, 576, 1152, 2304, 4608, 0, 0, *(256 << power for power in range(8)))


def _table(polynomial: int, width: int) -> list[int]:
    """Remainders of all bytes, for a checksum that takes the highest bit first."""
    table = []
    for byte in range(256):
        value = byte << (width - 8)
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> (width - 1) & 1 else 0)
        table.append(value & (1 << width) - 1)
    return table


CRC_8, CRC_16 = _table(0x07, 8), _table(0x8005, 16)


def flac_ends(content: mmap.mmap | bytes, n_samples: int) -> Iterator[int]:
    """Yield where the last frame may end: the places where its checksum fits.

    Besides the end there is a wrong place by chance in 65,536 bytes.

    Args:
        content: the file.
        n_samples: samples per channel of the stream.
    """
    start = _last_frame(content, n_samples)
    if start is None:
        return
    remainder = 0
    for place, byte in enumerate(content[start:], start + 1):
        remainder = (remainder << 8 & 0xFFFF) ^ CRC_16[remainder >> 8 ^ byte]
        if remainder == 0:
            yield place


def _last_frame(content: mmap.mmap | bytes, n_samples: int) -> int | None:
    """Where the frame begins that has the last sample."""
    start = len(content)
    while (start := content.rfind(b"\xff", 0, start)) > 0:
        if content[start + 1 : start + 2] in (b"\xf8", b"\xf9") and (
            _end_of_block(content[start : start + 16], int.from_bytes(content[10:12])) == n_samples
        ):
            return start
    return None


def _end_of_block(header: bytes, usual_size: int) -> int | None:
    """The number of samples up to the end of a frame; None if this is no frame.

    Args:
        header: at least the header of the frame.
        usual_size: samples of all blocks but the last, where they are numbered one by one.
    """
    if len(header) < 6:
        return None
    ones = next((n for n in range(8) if not header[4] & 0x80 >> n), 8)
    n_bytes = max(ones, 1)
    if ones in (1, 8):
        return None
    number = header[4] & (0x7F if ones == 0 else 0x7F >> ones)
    for byte in header[5 : 4 + n_bytes]:
        number = number << 6 | byte & 0x3F
    position, code = 4 + n_bytes, header[2] >> 4
    size = BLOCK_SIZES[code]
    if code in (6, 7):
        size = int.from_bytes(header[position : position + code - 5]) + 1
        position += code - 5
    position += {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    remainder = 0
    for byte in header[: position + 1]:
        remainder = CRC_8[remainder ^ byte]
    if remainder or size == 0 or position >= len(header):
        return None
    return (number if header[1] & 1 else number * usual_size) + size
