from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechprompt.audio import reading
from speechprompt.audio.reading import (
    AudioError,
    probe_audio,
    read_audio,
    resample,
    small_terms,
)


@pytest.fixture
def tone() -> np.ndarray:
    """Two seconds of 440 Hz at 22,050 Hz."""
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 22_050).astype(np.float32)


def peak_hertz(waveform: np.ndarray, sample_rate: int = 16_000) -> float:
    spectrum = np.abs(np.fft.rfft(waveform))
    return float(np.argmax(spectrum) * sample_rate / len(waveform))


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.flac", "PCM_24"), ("a.ogg", "VORBIS")],
)
def test_any_format_becomes_16_khz_float32(tmp_path, tone, name, subtype):
    soundfile.write(tmp_path / name, tone, 22_050, subtype=subtype)
    waveform = read_audio(tmp_path / name)
    assert waveform.dtype == np.float32
    assert waveform.shape == (32_000,)
    assert peak_hertz(waveform) == pytest.approx(440, abs=1)
    assert np.abs(waveform[1000:-1000]).max() == pytest.approx(0.5, abs=0.03)
    assert probe_audio(tmp_path / name) == (44_100, 22_050)


def test_mp3_is_read(tmp_path, tone):
    soundfile.write(tmp_path / "a.mp3", tone, 22_050, format="MP3")
    assert peak_hertz(read_audio(tmp_path / "a.mp3")) == pytest.approx(440, abs=1)
    assert probe_audio(tmp_path / "a.mp3")[1] == 22_050


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_rates(tmp_path, rate):
    time = np.arange(rate) / rate
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 1000 * time), rate)
    waveform = read_audio(tmp_path / "a.wav")
    assert len(waveform) == 16_000
    assert peak_hertz(waveform) == pytest.approx(1000, abs=1)


def test_same_rate_is_not_touched(tmp_path):
    samples = np.arange(-100, 100, dtype=np.int16) * 300
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav"), samples / np.float32(32768))


def test_channels_are_averaged(tmp_path):
    left, right = np.full(100, 0.5), np.full(100, -0.25)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), 0.125)


def test_resample_is_torchaudios(tone):
    import torch
    import torchaudio

    expected = torchaudio.functional.resample(torch.from_numpy(tone), 22_050, 16_000).numpy()
    np.testing.assert_allclose(resample(tone, 22_050, 16_000), expected, atol=1e-5)


def test_resample_does_not_depend_on_threads():
    import torch

    noise = np.random.default_rng(0).normal(0, 0.1, (20, 11_000)).astype(np.float32)
    before = torch.get_num_threads()
    try:
        results = {}
        for threads in (1, 2, 4, 7):
            torch.set_num_threads(threads)
            results[threads] = np.stack([resample(row, 22_050, 16_000) for row in noise])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for result in results.values():
        np.testing.assert_array_equal(result, results[1])


def test_blocks_join_without_a_seam(tmp_path):
    samples = np.random.default_rng(0).integers(-20_000, 20_000, 200_001).astype(np.int16)
    soundfile.write(tmp_path / "a.flac", samples, 16_000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac") * 32768, samples)
    assert probe_audio(tmp_path / "a.flac") == (200_001, 16_000)


def make_broken(folder: Path, kind: str, tone: np.ndarray) -> Path:
    path = folder / "broken.wav"
    if kind == "empty file":
        path.touch()
    elif kind == "no samples":
        soundfile.write(path, tone[:0], 16_000)
    elif kind == "text":
        path.write_text("this is not a recording\n" * 100)
    elif kind == "folder":
        path.mkdir()
    elif kind == "named pipe":
        os.mkfifo(path)
    elif kind == "headerless":
        path = path.with_suffix(".raw")
        path.write_bytes(b"\1\2" * 1000)
    elif kind == "link to nothing":
        path.symlink_to("nowhere")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "name too long":
        path = folder / ("x" * 300 + ".wav")
    elif kind == "name with a zero byte":
        path = folder / "a\0.wav"
    elif kind == "long":
        soundfile.write(path, np.zeros(401 * 100), 100)
    elif kind == "truncated wav":
        soundfile.write(path, tone, 16_000)
        path.write_bytes(path.read_bytes()[:10_000])
    elif kind == "truncated flac":
        path = path.with_suffix(".flac")
        noise = np.random.default_rng(0).normal(0, 0.1, 100_000)
        soundfile.write(path, noise, 16_000)
        path.write_bytes(path.read_bytes()[:100_000])
    elif kind == "damaged flac":
        path = path.with_suffix(".flac")
        noise = np.random.default_rng(0).normal(0, 0.1, 100_000)
        soundfile.write(path, noise, 16_000)
        content = bytearray(path.read_bytes())
        content[50_000:90_000] = bytes(40_000)
        path.write_bytes(content)
    elif kind == "nan":
        soundfile.write(path, np.where(np.arange(44_100) == 40_000, np.nan, tone), 16_000, "FLOAT")
    elif kind == "huge":
        soundfile.write(path, np.where(np.arange(44_100) == 40_000, 3e38, tone), 16_000, "FLOAT")
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "file not found"),
        ("folder", "not a file but a folder"),
        ("named pipe", "not a file but a named pipe"),
        ("headerless", "not audio"),
        ("link to nothing", r"file not found \(a link to nowhere\)"),
        ("link to itself", "cannot be opened"),
        ("name too long", "cannot be opened"),
        ("name with a zero byte", "not a possible name"),
        ("long", "401 s long; an utterance has at most 400 s"),
        ("empty file", "empty: 0 bytes"),
        ("no samples", "empty: no samples"),
        ("text", "not audio"),
        ("truncated wav", "truncated: 78244 bytes"),
        ("truncated flac", "truncated"),
        ("damaged flac", "damaged|truncated"),
        ("nan", "not finite"),
        ("huge", "has a sample of 3e\\+38"),
    ],
)
def test_unusable_files_say_why(tmp_path, tone, kind, reason):
    path = make_broken(tmp_path, kind, tone)
    for function in (probe_audio, read_audio):
        with pytest.raises(AudioError, match=reason) as caught:
            function(path)
        assert str(path) in str(caught.value)
        assert str(path) not in caught.value.reason


STREAMS = {
    "wav": {},
    "flac": {},
    "ogg": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
    "aiff": {},
    "au": {},
    "caf": {},
    "rf64": {"format": "RF64"},
}


@pytest.mark.parametrize("ending", STREAMS)
def test_what_follows_the_first_stream_is_not_passed_over(tmp_path, tone, ending):
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, tone[:32_000], 16_000, **STREAMS[ending])
    assert probe_audio(path) == (32_000, 16_000)
    content = path.read_bytes()
    twice = tmp_path / f"twice.{ending}"
    twice.write_bytes(content + content)
    for read in (probe_audio, read_audio):
        with pytest.raises(AudioError, match=r"read in part only|not audio"):
            read(twice)
    twice.write_bytes(content + b"left over " * 50)
    with pytest.raises(AudioError, match=r"read in part only: 500 bytes|No 'RIFF' chunk"):
        probe_audio(twice)
    # Players put titles and zeros there.
    twice.write_bytes(content + bytes(3) + b"TAG" + b"title".ljust(125))
    assert probe_audio(twice) == (32_000, 16_000)


@pytest.mark.parametrize("junk", [b"left over " * 50, b"x", b"RIFF" + bytes(range(256))])
@pytest.mark.parametrize(
    ("ending", "subtype"),
    [
        ("w64", "PCM_16"),
        ("w64", "FLOAT"),
        ("voc", "PCM_16"),
        ("nist", "PCM_24"),
        ("flac", "PCM_24"),
        ("flac", None),
    ],
)
def test_nothing_behind_the_samples_is_read_as_samples_or_passed_over(
    tmp_path, tone, ending, subtype, junk
):
    path = tmp_path / f"a.{ending}"
    for n_samples in (1, 4096, 8191, 20_001):
        soundfile.write(path, tone[:n_samples], 16_000, subtype=subtype)
        assert probe_audio(path)[0] == n_samples
        path.write_bytes(path.read_bytes() + junk)
        for read in (probe_audio, read_audio):
            with pytest.raises(AudioError, match=f"{len(junk)} bytes follow|not finite|full scale"):
                read(path)


def test_a_frame_of_flac_that_looks_like_the_last_one_is_no_end(tmp_path):
    """Silence has frames of a few bytes, and noise may hold any bytes."""
    rng = np.random.default_rng(0)
    for samples in (np.zeros(5_000), rng.uniform(-1, 1, (30_000, 2)), np.ones(4097)):
        soundfile.write(tmp_path / "a.flac", samples, 44_100)
        assert probe_audio(tmp_path / "a.flac") == (len(samples), 44_100)


def test_a_rate_beyond_all_recorders_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_SECONDS", 1)
    soundfile.write(tmp_path / "a.wav", np.zeros(500_000), 1_000_000)
    with pytest.raises(AudioError, match=r"more than 192,000 samples a second \(1,000,000\)"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_wav_of_a_size_that_means_unknown_is_read_to_its_end(tmp_path, tone, size):
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone, 16_000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    assert probe_audio(path) == (44_100, 16_000)


def test_names_need_not_be_text(tmp_path, tone):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    soundfile.write(os.fsencode(path), tone, 16_000)
    assert probe_audio(path) == (44_100, 16_000)


@pytest.mark.parametrize("rate", [11_127, 16_007, 44_101, 47_999])
def test_odd_rates_are_approximated_in_little_memory(rate):
    terms = small_terms(rate, 16_000)
    assert max(terms) <= 2_500
    assert terms[1] / terms[0] == pytest.approx(16_000 / rate, rel=1 / 2_500)
    time = np.arange(rate) / rate
    waveform = resample(np.sin(2 * np.pi * 1000 * time).astype(np.float32), rate, 16_000)
    assert len(waveform) == pytest.approx(16_000, abs=8)
    assert peak_hertz(waveform) == pytest.approx(1000, abs=1.5)


def test_usual_rates_keep_their_ratio():
    rates = (8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 37_800, 44_100, 48_000, 88_200, 192_000)
    assert [small_terms(rate, 16_000) for rate in rates] == [(rate, 16_000) for rate in rates]


def test_torch_is_only_imported_to_resample(tmp_path, tone):
    soundfile.write(tmp_path / "a.wav", tone, 16_000)
    code = (
        "import sys; from speechprompt.audio.reading import read_audio; "
        "read_audio(sys.argv[1]); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.wav")], check=True)
