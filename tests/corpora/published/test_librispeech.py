from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from speechprompt.config.corpora import LibriSpeechCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.validate import validate_corpus
from speechprompt.errors import CorpusError

SUBSETS = {"train": ["train-clean-100"], "valid": ["dev-clean"], "test": ["test-clean"]}
CHAPTERS = {
    "train-clean-100": ("1034/121119", "103/1240", "103/1241"),
    "dev-clean": ("84/121123",),
    "dev-other": ("116/288045",),
    "test-clean": ("61/70968",),
}
TEXTS = ("CHAPTER ONE MISSUS RACHEL LYNDE", "THAT'S ALL")


@pytest.fixture
def corpus(tmp_path, speak):
    names = []
    for subset, chapters in CHAPTERS.items():
        for chapter in chapters:
            folder = tmp_path / subset / chapter
            folder.mkdir(parents=True)
            stem = chapter.replace("/", "-")
            lines = [f"{stem}-{index:04d} {text}" for index, text in enumerate(TEXTS)]
            (folder / f"{stem}.trans.txt").write_text("\n".join(lines) + "\n")
            names += [f"{subset}/{chapter}/{line.split()[0]}.flac" for line in lines]
    speak(tmp_path, *names)
    return tmp_path


def rows(folder, split):
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


def test_subsets_become_splits(corpus, configured_labels):
    counts = prepare_corpus(LibriSpeechCorpus(**SUBSETS), corpus, corpus / "m", seed=1, threads=2)
    assert configured_labels(LibriSpeechCorpus(), corpus / "m")
    assert counts == {"train": 6, "valid": 2, "test": 2}
    assert validate_corpus(corpus / "m", label_columns=["text"]) == counts
    train = rows(corpus / "m", "train")
    assert [row["utt_id"] for row in train][:3] == [
        "train-clean-100/103/1240/103-1240-0000",
        "train-clean-100/103/1240/103-1240-0001",
        "train-clean-100/103/1241/103-1241-0000",
    ]
    assert [row["speaker"] for row in train] == ["103"] * 4 + ["1034"] * 2
    assert [row["text"] for row in train[:2]] == list(TEXTS)
    assert train[0]["path"] == "train-clean-100/103/1240/103-1240-0000.flac"
    assert {row["sample_rate"] for row in train} == {16_000}


def test_several_subsets_of_a_split(corpus, capsys):
    subsets = SUBSETS | {"valid": ["dev-clean", "dev-other"]}
    counts = prepare_corpus(LibriSpeechCorpus(**subsets), corpus, corpus / "m", seed=1)
    assert counts["valid"] == 4
    assert "valid has 4 recordings, as published it has 5567" in capsys.readouterr().err
    assert {row["path"].split("/")[0] for row in rows(corpus / "m", "valid")} == {
        "dev-clean",
        "dev-other",
    }


def test_what_is_missing_is_named(corpus):
    chapter = corpus / "train-clean-100/103/1241"
    (chapter / "103-1241-0001.flac").unlink()
    with pytest.raises(CorpusError, match=r"103-1241-0001\.flac: .* 1 of 10 are missing"):
        prepare_corpus(LibriSpeechCorpus(**SUBSETS), corpus, corpus / "m", seed=1)
    (chapter / "103-1241.trans.txt").write_text("103-1241-0000 FINE\n\n103-1241-0001\n")
    with pytest.raises(CorpusError, match=r"trans\.txt, line 3: expected 'name TEXT'"):
        prepare_corpus(LibriSpeechCorpus(**SUBSETS), corpus, corpus / "m", seed=1)
    subsets = SUBSETS | {"train": ["train-other-500"]}
    with pytest.raises(CorpusError, match=r"other-500: expected .*trans\.txt, found none"):
        prepare_corpus(LibriSpeechCorpus(**subsets), corpus, corpus / "m", seed=1)


def test_unreadable_audio_is_rejected(corpus):
    path = corpus / "dev-clean/84/121123/84-121123-0001.flac"
    path.write_bytes(path.read_bytes()[:200])
    prepare_corpus(LibriSpeechCorpus(**SUBSETS), corpus, corpus / "m", seed=1, max_rejected=0.1)
    (reject,) = rows(corpus / "m", "rejects")
    assert reject["path"] == "dev-clean/84/121123/84-121123-0001.flac"
    assert len(rows(corpus / "m", "valid")) == 1
