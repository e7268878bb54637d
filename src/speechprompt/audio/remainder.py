"""What a file of audio has after the part that libsndfile reads.

Streams may be written one after the other into one file. libsndfile reads the first of them, and
says nothing of the others. Here the containers are walked by their headers, without decoding.
"""

import mmap
import struct
from collections.abc import Callable

from speechprompt.audio.flac_end import flac_ends
from speechprompt.audio.stated_size import NIST_HEADER, UNKNOWN_CHUNK_SIZE, nist_end

__all__ = ["find_remainder"]

# Samples that an encoder adds to both ends of a stream, and that decoders take away again.
MP3_PADDING = 3 * 1152 + 1105
AUDIO_IN_OGG = (b"OpusHead", b"\x01vorbis", b"Speex   ", b"\x7fFLAC")
MP3_BITRATES = {  # kbit/s by MPEG version (1, or 2 and 2.5) and layer
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MP3_RATES = (44_100, 48_000, 32_000)


# The bytes of a file, as they are in memory or on the disk.
Content = mmap.mmap | bytes


def find_remainder(content: Content, n_samples: int) -> str | None:
    """Say what a file has that was not read; None for a file that was read as a whole.

    Args:
        content: the file, which is not empty.
        n_samples: samples per channel that libsndfile read.
    """
    if content[:3] == b"ID3" or (content[0] == 0xFF and content[1:2] >= b"\xe0"):
        return _after_mp3(content, n_samples)
    if content[:4] == b"fLaC":
        return _after_flac(content, n_samples)
    walk: Callable[[Content], str | None] | None = {
        b"RIFF": _after_chunks,
        b"RIFX": _after_chunks,
        b"RF64": _after_chunks,
        b"FORM": _after_chunks,
        b".snd": _after_au,
        b"caff": _after_caf,
        b"OggS": _after_ogg,
        b"riff": _after_w64,
        b"Crea": _after_voc,
        b"NIST": _after_nist,
    }.get(content[:4])
    return walk(content) if walk else None


def _rest(content: Content, end: int) -> str | None:
    """What is behind the end of the audio; zeros and tags of a title do not count."""
    rest = content[end:]
    if not rest.strip(b"\0") or rest.lstrip(b"\0")[:3] in (b"TAG", b"APE", b"ID3", b"LYR"):
        return None
    return f"{len(rest):,} bytes follow what is read, from byte {end:,}; split or convert the file"


def _after_chunks(content: Content) -> str | None:
    """WAV, RF64 and AIFF: chunks, of which one has the samples."""
    order, position, data_seen = ">" if content[:4] in (b"RIFX", b"FORM") else "<", 12, False
    long_size = 0
    while position + 8 <= len(content):
        name, length = struct.unpack(f"{order}4sI", content[position : position + 8])
        if name == b"ds64":
            long_size = struct.unpack("<Q", content[position + 16 : position + 24])[0]
        if data_seen and (name in (b"RIFF", b"RIFX", b"FORM", b"data", b"SSND", b"\0\0\0\0")):
            return _rest(content, position)
        if data_seen and (not name.isascii() or position + 8 + length > len(content)):
            return _rest(content, position)
        if name in (b"data", b"SSND"):
            data_seen = True
            if length == 0xFFFF_FFFF and long_size:
                length = long_size
            elif length == 0 or length >= UNKNOWN_CHUNK_SIZE:
                return None  # all the rest are samples
        position += 8 + length
        # Not all programs fill up a chunk of odd length, as they should.
        position += length % 2 and not content[position : position + 1].isalpha()
    return _rest(content, min(position, len(content))) if data_seen else None


def _after_au(content: Content) -> str | None:
    start, length = struct.unpack(">II", content[4:12])
    unknown = length >= UNKNOWN_CHUNK_SIZE or length == 0
    return None if unknown else _rest(content, start + length)


def _after_caf(content: Content) -> str | None:
    position, data_seen = 8, False
    while position + 12 <= len(content):
        name, length = struct.unpack(">4sq", content[position : position + 12])
        if length < 0 and name == b"data":
            return None
        if data_seen and (not name.isascii() or not 0 <= length <= len(content) - position - 12):
            break
        if data_seen and name in (b"caff", b"data"):
            break
        data_seen |= name == b"data"
        position += 12 + max(length, 0)
    return _rest(content, min(position, len(content))) if data_seen else None


def _after_w64(content: Content) -> str | None:
    """W64: chunks as in WAV, with long names, and lengths that include the name and the length."""
    position, end, data_seen = 40, 40, False
    while position + 24 <= len(content):
        name = content[position : position + 4]
        (length,) = struct.unpack("<Q", content[position + 16 : position + 24])
        fits = 24 <= length <= len(content) - position and name.isascii()
        if data_seen and (not fits or name in (b"riff", b"data")):
            break
        if not fits:
            return None  # a length that is not known: all the rest are samples
        data_seen |= name == b"data"
        end = position + length
        position = end + -length % 8
    return _rest(content, end) if data_seen else None


def _after_voc(content: Content) -> str | None:
    """VOC: blocks, whose lengths have three bytes, and a zero."""
    position = int.from_bytes(content[20:22], "little")
    if len(content) >= 2**24:
        return None  # longer than a block can say
    while position < len(content):
        length = int.from_bytes(content[position + 1 : position + 4], "little")
        if content[position] == 0:
            return _rest(content, position + 1)
        position += 4 + length
    return None


def _after_nist(content: Content) -> str | None:
    """NIST SPHERE: libsndfile takes all that follows the header for samples."""
    end = nist_end(content[:NIST_HEADER])
    return None if end is None else _rest(content, end)


def _after_flac(content: Content, n_samples: int) -> str | None:
    """A second stream has the same first bytes; anything else follows the last frame."""
    marks = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22", b"OggS\0\x02")
    starts = (content.find(mark, 4) for mark in marks)
    second = min((start for start in starts if start > 0), default=None)
    if second is not None:
        return _rest(content, second)
    rests = [_rest(content, end) for end in flac_ends(content, n_samples)]
    # The shortest is right, because only an end by chance may be in front of the true one.
    return None if None in rests else next(iter(rests), None)


def _after_ogg(content: Content) -> str | None:
    position, streams, in_body = 0, 0, False
    while content[position : position + 4] == b"OggS":
        is_first, n_segments = content[position + 5] & 2, content[position + 26]
        lengths = content[position + 27 : position + 27 + n_segments]
        start = position + 27 + n_segments
        if is_first:
            streams += content[start : start + 8].startswith(AUDIO_IN_OGG)
            if in_body:
                return _rest(content, position)
            if streams > 1:
                return "it has several streams of audio side by side; convert it to one"
        in_body |= not is_first
        position = start + sum(lengths)
        if position + 27 > len(content):
            break
    return _rest(content, min(position, len(content)))


def _after_mp3(content: Content, n_samples: int) -> str | None:
    """Compare the frames that there are with the samples that were read."""
    position, found = 0, 0
    while position + 10 <= len(content):
        if content[position : position + 3] == b"ID3":
            a, b, c, d = content[position + 6 : position + 10]
            position += 10 + (a << 21 | b << 14 | c << 7 | d)
        elif (frame := _mp3_frame(content[position : position + 4])) is not None:
            length, samples = frame
            head = content[position : position + 48]
            found += 0 if b"Xing" in head or b"Info" in head or b"VBRI" in head else samples
            position += length
        elif not found:
            position += 1
            if position > 65_536:
                return None
        else:
            break
    if found > n_samples + MP3_PADDING:
        return f"{n_samples:,} of about {found:,} samples are read; split or convert the file"
    return _rest(content, min(position, len(content))) if found else None


def _mp3_frame(header: bytes) -> tuple[int, int] | None:
    """Bytes and samples of an MPEG frame; None if this is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    kind, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if kind == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    version = 1 if kind == 3 else 2
    hertz = MP3_RATES[rate] // {3: 1, 2: 2, 0: 4}[kind]
    bits = 1000 * MP3_BITRATES[version, layer][bitrate]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return 4 * (12 * bits // hertz + padding), 384
    samples = 576 if (version, layer) == (2, 3) else 1152
    return samples // 8 * bits // hertz + padding, samples
