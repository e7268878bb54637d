"""Files that were cut, in the formats whose header states how many bytes of samples there are."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechprompt.audio.reading import AudioError, probe_audio, read_audio, read_blocks
from speechprompt.audio.stated_size import missing_bytes, nist_end

FORMATS = [
    ("WAV", "PCM_16", "LITTLE"),
    ("WAV", "PCM_16", "BIG"),
    ("WAV", "IMA_ADPCM", "FILE"),
    ("RF64", "PCM_16", "FILE"),
    ("RF64", "FLOAT", "FILE"),
    ("W64", "PCM_24", "FILE"),
    ("W64", "GSM610", "FILE"),
    ("AIFF", "PCM_16", "BIG"),
    ("AIFF", "PCM_16", "LITTLE"),
    ("AIFF", "IMA_ADPCM", "FILE"),
    ("CAF", "PCM_16", "FILE"),
    ("CAF", "ALAC_16", "FILE"),
    ("AU", "PCM_16", "BIG"),
    ("AU", "ULAW", "LITTLE"),
    ("NIST", "PCM_16", "FILE"),
    ("NIST", "ULAW", "FILE"),
]
N_SAMPLES = 20_001


def recording(form: str, subtype: str, endian: str = "FILE") -> bytes:
    buffer = io.BytesIO()
    samples = 0.1 * np.random.default_rng(0).normal(size=N_SAMPLES)
    soundfile.write(buffer, samples, 16_000, subtype=subtype, endian=endian, format=form)
    return buffer.getvalue()


def read_all(path: Path) -> None:
    for _ in read_blocks(path):
        pass


@pytest.mark.parametrize(("form", "subtype", "endian"), FORMATS)
def test_a_cut_file_is_refused_and_a_whole_one_is_read(tmp_path, form, subtype, endian):
    content = recording(form, subtype, endian)
    path = tmp_path / "a.audio"
    path.write_bytes(content)
    # Some formats have samples in blocks, or an even number of bytes.
    assert probe_audio(path)[0] == pytest.approx(N_SAMPLES, abs=400)
    assert len(read_audio(path)) >= N_SAMPLES
    path.write_bytes(content[: len(content) * 7 // 10])
    for place in (path, Path(f"{path}#t=0.1,0.2")):
        for read in (probe_audio, read_audio, read_all):
            with pytest.raises(AudioError, match=r"truncated: \d+ bytes of samples are missing"):
                read(place)


@pytest.mark.parametrize(("form", "subtype", "endian"), FORMATS)
def test_a_file_that_was_cut_anywhere_is_judged_without_an_error(form, subtype, endian):
    content = recording(form, subtype, endian)
    for size in (*range(200), *range(200, len(content), 997)):
        assert missing_bytes(io.BytesIO(content[:size]), size) <= len(content) - size


def test_bytes_that_are_missing_are_counted():
    for form in ("WAV", "RF64", "W64", "AU", "NIST"):
        content = recording(form, "PCM_16")
        size = len(content) - 1000
        assert missing_bytes(io.BytesIO(content[:size]), size) == 1000


@pytest.mark.parametrize(
    ("form", "mark", "length"),
    [
        ("WAV", b"data", "<I"),
        ("AIFF", b"SSND", ">I"),
        ("CAF", b"data", ">q"),
        ("W64", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", "<Q"),
        ("AU", b"\0\0\0\x18", ">I"),
        ("RF64", b"ds64\x1c\0\0\0" + bytes(8), "<Q"),
    ],
)
def test_sizes_that_mean_unknown_are_accepted(form, mark, length):
    content = recording(form, "PCM_16")
    # RF64: the size of the file, which stands before that of its data, is any.
    pattern = re.escape(mark[:-8]) + b".{8}" if form == "RF64" else re.escape(mark)
    found = re.search(pattern, content, re.DOTALL)
    assert found is not None
    beyond = {"q": [-1], "Q": [2**63 - 1, 2**64 - 1]}.get(length[1], [])
    for size in (0, 0x7F00_0000, 0x7FFF_FFFF, 0xFFFF_FFFF, *beyond):
        field = struct.pack(length, size)
        piped = content[: found.end()] + field + content[found.end() + len(field) :]
        assert missing_bytes(io.BytesIO(piped), len(piped)) == 0


def test_headers_of_nist_sphere():
    header = recording("NIST", "PCM_16")[:1024]
    assert nist_end(header) == 1024 + 2 * N_SAMPLES
    assert nist_end(header.replace(b"channel_count -i 1", b"channel_count -i 2")) == (
        1024 + 4 * N_SAMPLES
    )
    assert nist_end(header.replace(b"sample_coding -s3 pcm\n", b"")) == 1024 + 2 * N_SAMPLES
    for old, new in (
        (b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00"),
        (b"sample_count -i 20001", b"sample_count -i 0"),
        (b"sample_count -i 20001", b"sample_count -i -1"),
        (b"sample_count -i 20001", b"sample_count -s4 many"),
        (b"sample_n_bytes", b"some_bytes"),
    ):
        assert old in header
        assert nist_end(header.replace(old, new)) is None


def test_what_follows_the_samples_of_nist_sphere_is_reported(tmp_path):
    content = recording("NIST", "PCM_16")
    path = tmp_path / "twice.sph"
    path.write_bytes(content * 2)
    for read in (probe_audio, read_audio, read_all):
        with pytest.raises(AudioError, match=f"read in part only: {len(content):,} bytes follow"):
            read(path)
    with pytest.raises(AudioError, match="read in part only"):
        read_audio(f"{path}#t=0.1,0.2")
