"""Recordings of people from unpacked Debian packages."""

import csv
import sys

import numpy as np
import pytest
import soundfile

from speechprompt.config.corpora import CsvCorpus
from speechprompt.corpora.debian_recordings import collect_recordings
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.errors import CorpusError

RATE = 16_000


def put(root, path, seconds=1.0, rate=RATE, before=0.0, after=0.0):
    """Write a tone with silence around it."""
    file = root / "usr/share" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * rate)) / rate)
    parts = np.zeros(round(before * rate)), tone, np.zeros(round(after * rate))
    soundfile.write(file, np.concatenate(parts), rate)
    return file


def test_every_voice_of_the_packages_is_a_speaker_of_a_table_without_labels(tmp_path):
    put(tmp_path / "x", "asterisk/sounds/it_IT_m_Carlo/digits/1.wav", rate=8000)
    put(tmp_path / "x", "asterisk/sounds/es_MX_f_Allison/hello.wav")
    put(tmp_path / "x", "asterisk/sounds/en_US_f_Allison/silence/1.wav")
    put(tmp_path / "x", "klettres/uk/alpha/а.ogg")
    put(tmp_path / "x", "klettres/uk/alpha/б.ogg")
    put(tmp_path / "x", "ktuberling/sounds/ca/ull.wav", before=2.0, after=3.0)
    put(tmp_path / "x", "ktuberling/sounds/ca/click.wav", seconds=0.05)
    put(tmp_path / "x", "other/bell.wav")
    table = collect_recordings(tmp_path / "x", tmp_path / "out")
    rows = list(csv.DictReader(table.open()))
    assert sorted((row["speaker"], row["path"].split("-")[-1]) for row in rows) == [
        ("asterisk-en_US_f_Allison", "hello.flac"),
        ("asterisk-it_IT_m_Carlo", "1.flac"),
        ("klettres-uk", "+430.flac"),
        ("klettres-uk", "+431.flac"),
        ("ktuberling-ca", "ull.flac"),
    ]
    lengths = [soundfile.info(table.parent / row["path"]).duration for row in rows]
    assert max(lengths) < 1.35  # a second of tone and at most 0.15 s and a window on each side
    assert all(soundfile.info(table.parent / row["path"]).samplerate == RATE for row in rows)
    settings = CsvCorpus(kind="csv", table=str(table), valid_fraction=0.2)
    counts = prepare_corpus(settings, table.parent, tmp_path / "manifests", seed=1)
    assert sum(counts.values()) == len(rows)


def test_a_folder_without_recordings_is_an_error(tmp_path):
    put(tmp_path, "other/bell.wav")
    with pytest.raises(CorpusError, match="usr/share/asterisk/sounds"):
        collect_recordings(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_recording_is_named_and_left_out(tmp_path, capsys):
    put(tmp_path, "klettres/uk/alpha/a.ogg").write_bytes(b"OggS and no more")
    with pytest.raises(CorpusError, match="none of 1 recordings"):
        collect_recordings(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    put(tmp_path, "klettres/uk/alpha/b.ogg")
    table = collect_recordings(tmp_path, tmp_path / "out")
    assert len(table.read_text().splitlines()) == 2
    assert "klettres/uk/alpha/a.ogg" in capsys.readouterr().err


def test_without_its_package_a_recording_in_g722_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "G722", None)
    file = tmp_path / "usr/share/asterisk/sounds/en_US_f_Allison/hello.g722"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(8000))
    with pytest.raises(CorpusError, match=r"hello\.g722: .*make voices"):
        collect_recordings(tmp_path, tmp_path / "out")
