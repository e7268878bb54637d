"""Parts of long recordings and recordings inside Parquet files, as places that a path names."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from speechprompt.audio.places import Place
from speechprompt.audio.reading import AudioError, probe_content, read_audio

RATE = 16_000


@pytest.fixture
def talk() -> np.ndarray:
    """Ten seconds of noise in two channels."""
    return np.random.default_rng(0).integers(-20_000, 20_000, (10 * RATE, 2)).astype(np.int16)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a.wav", Place("a.wav")),
        ("a.wav#t=1.5,3", Place("a.wav", 1.5, 3.0)),
        ("a.wav#t=1.5", Place("a.wav", 1.5)),
        ("a.wav#t=0,0.00001", Place("a.wav", 0.0, 1e-5)),
        ("b/a.wav#t=2,3&channel=1", Place("b/a.wav", 2.0, 3.0, 1)),
        ("a.wav#channel=0", Place("a.wav", channel=0)),
        ("x.parquet#column=my%20%2Faudio&row=7", Place("x.parquet", column="my /audio", row=7)),
        ("x.parquet#t=0,2&column=a&row=7", Place("x.parquet", 0.0, 2.0, None, "a", 7)),
    ],
)
def test_a_place_and_its_text_are_the_same(text, place):
    assert Place.at(text) == place
    assert str(place) == text


@pytest.mark.parametrize("text", ["a#1.wav", "a.wav#", "a.wav#t=a", "a.wav#t=1,2&x=3", "#t=1"])
def test_other_names_are_those_of_files(text):
    assert Place.at(text) == Place(text)


def test_a_file_of_such_a_name_is_read_whole(tmp_path, talk):
    path = tmp_path / "a.wav#t=1,2"
    soundfile.write(path, talk[:, 0], RATE, format="WAV")
    assert len(read_audio(path)) == len(talk)


def test_names_of_places_have_no_dot():
    assert Place("b/a.wav", 1.5, 3).name == "b/a-0001500-0003000"
    assert Place("b/a.wav", 1.5).name == "b/a-0001500-end"
    assert Place("a.parquet", column="audio", row=3).name == "a-000003"


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "FLOAT"),
        ("a.aiff", "PCM_16"),
        ("a.caf", "PCM_16"),
        ("a.flac", "PCM_16"),
        ("a.wav", "GSM610"),
        ("a.ogg", "VORBIS"),
        ("a.mp3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize(("start", "end"), [(0, 0.5), (2.25, 7.125), (9.5, 10), (3, None)])
def test_a_part_is_that_part_of_the_whole(tmp_path, talk, name, subtype, start, end):
    mono = subtype == "GSM610"
    soundfile.write(tmp_path / name, talk[:, 0] if mono else talk, RATE, subtype=subtype)
    whole = read_audio(tmp_path / name)
    part = read_audio(str(Place(str(tmp_path / name), start, end)))
    last = len(whole) if end is None else round(end * RATE)
    expected = whole[round(start * RATE) : last]
    assert len(part) == len(expected)
    # A frame of MPEG is decoded with what frames before it left over.
    tolerance = 0.25 if name.endswith("mp3") else 0
    np.testing.assert_allclose(part, expected, rtol=0, atol=tolerance)


def test_a_part_is_read_by_seeking(tmp_path, talk, monkeypatch):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(talk, (60, 1)), RATE)
    with pytest.raises(AudioError, match="600 s long"):
        read_audio(path)
    counts = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda self, n, **k: counts.append(n) or read(self, n, **k)
    )
    part = read_audio(f"{path}#t=590.5,591")
    np.testing.assert_array_equal(part, talk[RATE // 2 : RATE].mean(1, dtype=np.float32) / 32768)
    assert sum(counts) == RATE // 2
    with pytest.raises(AudioError, match="450 s long"):
        read_audio(f"{path}#t=100,550")


def test_a_channel_of_its_own(tmp_path, talk):
    path = tmp_path / "a.wav"
    soundfile.write(path, talk, RATE)
    for channel in (0, 1):
        found = read_audio(f"{path}#channel={channel}")
        np.testing.assert_array_equal(found * 32768, talk[:, channel])
    with pytest.raises(AudioError, match="has no channel 2, only 2 from 0"):
        read_audio(f"{path}#channel=2")


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ("t=10,11", r"starts after the end of the recording at 10\.000 s"),
        ("t=9,10.1", r"ends after the end of the recording at 10\.000 s"),
        ("t=3,3.00001", "no samples between"),
        (f"t=0,1{308 * '0'}", r"ends after the end of the recording at 10\.000 s"),
        (f"t=0,{400 * '9'}", r"ends after the end of the recording at 10\.000 s"),
        (f"t=1{308 * '0'}", r"starts after the end of the recording at 10\.000 s"),
    ],
)
def test_wrong_parts(tmp_path, talk, times, reason):
    soundfile.write(tmp_path / "a.wav", talk, RATE)
    with pytest.raises(AudioError, match=reason) as caught:
        read_audio(f"{tmp_path}/a.wav#{times}")
    assert times in str(caught.value)


def test_the_last_part_may_end_by_rounding_behind_the_recording(tmp_path, talk):
    soundfile.write(tmp_path / "a.wav", talk, RATE)
    assert len(read_audio(f"{tmp_path}/a.wav#t=9,10.01")) == RATE


@pytest.mark.parametrize("name", ["a.au", "a.flac", "a.ogg"])
def test_a_part_of_a_file_with_more_behind_it_is_refused(tmp_path, talk, name):
    path = tmp_path / name
    soundfile.write(path, talk, RATE)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(AudioError, match="read in part only"):
        read_audio(f"{path}#t=1,2")
    soundfile.write(path, talk, RATE)  # mended: the verdict is not kept
    assert len(read_audio(f"{path}#t=1,2")) == RATE


def test_a_part_of_a_cut_file_is_refused(tmp_path, talk):
    path = tmp_path / "a.wav"
    soundfile.write(path, talk, RATE)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(AudioError, match="truncated: 1000 bytes"):
        read_audio(f"{path}#t=1,2")


def test_equal_samples_have_equal_hashes(tmp_path, talk):
    soundfile.write(tmp_path / "long.flac", talk[:, 0], RATE)
    soundfile.write(tmp_path / "part.wav", talk[RATE : 2 * RATE, 0], RATE)
    part, alone = (probe_content(f"{tmp_path}/{name}") for name in ("long.flac#t=1,2", "part.wav"))
    assert part == alone


@pytest.fixture
def embedded(tmp_path, talk):
    """Five recordings in a Parquet file with groups of two rows, the last three of them wrong."""
    cells = []
    for form in ("WAV", "FLAC"):
        buffer = io.BytesIO()
        soundfile.write(buffer, talk, RATE, format=form)
        cells.append({"bytes": buffer.getvalue(), "path": f"a.{form.lower()}"})
    whole = cells[1]["bytes"]
    cells += [{"bytes": whole * 2}, {"bytes": b"noise"}, {"bytes": b""}, {"bytes": None}]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"audio": pa.array(cells, kind)}), path, row_group_size=2)
    return path


def test_recordings_in_a_parquet_file(embedded, talk):
    mean = talk.mean(1, dtype=np.float32) / 32768
    for row in (0, 1):
        np.testing.assert_array_equal(read_audio(f"{embedded}#column=audio&row={row}"), mean)
    part = read_audio(f"{embedded}#t=1,2&channel=1&column=audio&row=1")
    np.testing.assert_array_equal(part * 32768, talk[RATE : 2 * RATE, 1])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("column=audio&row=2", "read in part only"),
        ("column=audio&row=3", "not audio that libsndfile reads"),
        ("column=audio&row=4", "empty: 0 bytes"),
        ("column=audio&row=5", "has no recording in this row"),
        ("column=audio&row=6", "has no row 6, only 6 from 0"),
        ("column=video&row=0", "has no column 'video'"),
    ],
)
def test_wrong_recordings_in_a_parquet_file(embedded, cell, reason):
    with pytest.raises(AudioError, match=reason) as caught:
        read_audio(f"{embedded}#{cell}")
    assert f"a.parquet#{cell}" in str(caught.value)


def test_a_parquet_file_that_is_none(tmp_path):
    (tmp_path / "a.parquet").write_text("nothing of the kind")
    with pytest.raises(AudioError, match=r"a\.parquet#.*(magic|Parquet)"):
        read_audio(f"{tmp_path}/a.parquet#column=audio&row=0")
    with pytest.raises(AudioError, match="No such file"):
        read_audio(f"{tmp_path}/b.parquet#column=audio&row=0")
