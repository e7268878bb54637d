"""Lithuanian Speech Commands: words and others, by the published rule."""

import pyarrow.parquet as pq

from speechprompt.config.corpora import LtSpeechCommandsCorpus
from speechprompt.corpora.prepare import prepare_corpus

# Speakers as the published split has them.
SPLITS = {"train": ("01", "03", "05"), "valid": ("04",), "test": ("02", "28")}
WORDS = ("ačiū", "stop", "taip")


def test_words_and_splits_are_the_published_ones(tmp_path, speak, configured_labels, capsys):
    speakers = [speaker for names in SPLITS.values() for speaker in names]
    speak(tmp_path, *(f"dataset/{word}/{who}_nohash_0.wav" for word in WORDS for who in speakers))
    settings = LtSpeechCommandsCorpus(train_per_word=2)
    counts = prepare_corpus(settings, tmp_path, tmp_path / "m", seed=1)
    assert counts == {"train": 6, "valid": 3, "test": 6}
    assert "test has 6 recordings, as published it has 88" in capsys.readouterr().err
    assert configured_labels(settings, tmp_path / "m")
    for split, names in SPLITS.items():
        rows = pq.read_table(tmp_path / f"m/{split}.parquet").to_pylist()
        assert {row["speaker"] for row in rows} == set(names[:2])
        assert {row["label"] for row in rows} == {"ačiū", "stop", "_unknown_"}
    everything = LtSpeechCommandsCorpus(train_per_word=None)
    assert prepare_corpus(everything, tmp_path, tmp_path / "all", seed=1)["train"] == 9
