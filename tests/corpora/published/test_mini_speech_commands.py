"""Mini Speech Commands: eight words, divided by the speaker."""

import pyarrow.parquet as pq

from speechprompt.config.corpora import MiniSpeechCommandsCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.published.collect import download_corpus
from speechprompt.corpora.published.speech_commands import hash_split
from speechprompt.downloads.assets import ASSETS

FOLDER = "mini_speech_commands"


def test_the_speaker_decides_the_split(tmp_path, speak, configured_labels, capsys):
    speakers = {}
    for number in range(300):
        speakers.setdefault(hash_split(f"{number:08x}_nohash_0.wav") or "test", f"{number:08x}")
    names = [f"{word}/{who}_nohash_0.wav" for word in ("go", "no") for who in speakers.values()]
    speak(tmp_path, *(f"{FOLDER}/{name}" for name in names))
    (tmp_path / FOLDER / "README.md").touch()
    (tmp_path / FOLDER / "go/._0000000f_nohash_0.wav").touch()  # the archive has such files
    settings = MiniSpeechCommandsCorpus()
    counts = prepare_corpus(settings, tmp_path, tmp_path / "m", seed=1)
    assert counts == {"train": 2, "valid": 2, "test": 2}
    assert "6 recordings, as published it has 8000" in capsys.readouterr().err
    assert configured_labels(settings, tmp_path / "m")
    for split, who in speakers.items():
        rows = pq.read_table(tmp_path / f"m/{split}.parquet").to_pylist()
        assert [row["label"] for row in rows] == ["go", "no"]
        assert {row["speaker"] for row in rows} == {who}


def test_a_copy_is_found_beside_what_macos_packs(tmp_path, speak):
    speak(tmp_path / "copy", f"{FOLDER}/yes/0123abcd_nohash_0.wav")
    hidden = tmp_path / f"copy/__MACOSX/{FOLDER}/yes"
    hidden.mkdir(parents=True)
    (hidden / "._0123abcd_nohash_0.wav").touch()
    download_corpus("mini_speech_commands", tmp_path / "out", root=tmp_path / "copy")
    assert (tmp_path / "out" / FOLDER / "yes/0123abcd_nohash_0.wav").is_file()
    assert ASSETS["mini_speech_commands.zip"].size == 182_082_353
