from __future__ import annotations

import csv

import pyarrow.parquet as pq
import pytest

from speechprompt.config.corpora import FluentSpeechCommandsCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.validate import validate_corpus
from speechprompt.errors import CorpusError
from speechprompt.tasks.classification import Classification

FOLDER = "fluent_speech_commands_dataset"
HEADER = ["", "path", "speakerId", "transcription", "action", "object", "location"]
COMMANDS = (
    ("Change language", "change language", "none", "none"),
    ("Turn off the kids’ café’s light, 'now'!", "deactivate", "lights", "bedroom"),
    ("Resume", "activate", "music", "none"),
)
LABELS = ["action", "object", "location"]


def path(split: str, index: int) -> str:
    return f"wavs/speakers/{split}Speaker/{split}-{index}.wav"


@pytest.fixture
def corpus(tmp_path, speak):
    """Three recordings per split, with the published tables' index column."""
    for split in ("train", "valid", "test"):
        rows = [
            [index, path(split, index), f"{split}Speaker", *command]
            for index, command in enumerate(COMMANDS)
        ]
        table = tmp_path / FOLDER / "data" / f"{split}_data.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="") as stream:
            csv.writer(stream).writerows([HEADER, *rows])
    names = [path(split, index) for split in ("train", "valid", "test") for index in range(3)]
    speak(tmp_path / FOLDER, *names)
    return tmp_path


def test_labels_text_and_order(corpus, configured_labels):
    counts = prepare_corpus(FluentSpeechCommandsCorpus(), corpus, corpus / "m", seed=1)
    assert configured_labels(FluentSpeechCommandsCorpus(), corpus / "m")
    assert counts == {"train": 3, "valid": 3, "test": 3}
    assert validate_corpus(corpus / "m", label_columns=[*LABELS, "text"]) == counts
    train = pq.read_table(corpus / "m/train.parquet")
    row = train.to_pylist()[1]
    assert row["path"] == f"{FOLDER}/{path('train', 1)}"
    assert row["speaker"] == "trainSpeaker"
    assert [row[name] for name in LABELS] == ["deactivate", "lights", "bedroom"]
    assert row["text"] == "TURN OFF THE KIDS' CAFE'S LIGHT 'NOW'"
    space = Classification.from_train(train, LABELS, "train")
    assert space.values == (
        ("change language", "deactivate", "activate"),
        ("none", "lights", "music"),
        ("none", "bedroom"),
    )


def test_an_incomplete_copy_names_the_first_missing_file(corpus):
    (corpus / FOLDER / path("valid", 1)).unlink()
    (corpus / FOLDER / path("test", 0)).unlink()
    with pytest.raises(CorpusError, match=r"valid-1\.wav: expected .*; 2 of 9 are missing"):
        prepare_corpus(FluentSpeechCommandsCorpus(), corpus, corpus / "m", seed=1, max_rejected=0.5)


def test_unreadable_audio_is_rejected(corpus):
    (corpus / FOLDER / path("train", 2)).write_bytes(b"")
    with pytest.raises(CorpusError, match=r"train-2\.wav \(empty: 0 bytes\)"):
        prepare_corpus(FluentSpeechCommandsCorpus(), corpus, corpus / "m", seed=1)
    prepare_corpus(FluentSpeechCommandsCorpus(), corpus, corpus / "m", seed=1, max_rejected=0.2)
    rejects = pq.read_table(corpus / "m/rejects.parquet").to_pylist()
    assert [row["reason"] for row in rejects] == ["empty: 0 bytes"]


def test_other_sizes_than_published_are_said(corpus, capsys):
    prepare_corpus(FluentSpeechCommandsCorpus(), corpus, corpus / "m", seed=1)
    assert "test has 3 recordings, as published it has 3793" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("speakerId", "speaker", "expected the column 'speakerId', found"),
        ("Resume,activate", "!,activate", "line 4: column 'transcription' is empty"),
        ("activate,music", "activate,", "line 4: column 'object' is empty"),
        ("activate,music", '"activate,music', r"train_data\.csv, line 4: cannot be read as CSV"),
    ],
)
def test_damaged_tables_are_named(corpus, before, after, message):
    table = corpus / FOLDER / "data/train_data.csv"
    text = table.read_text()
    table.write_text(text.replace(before, after) if before != "Resume" else text)
    with pytest.raises(CorpusError, match=message) as caught:
        prepare_corpus(FluentSpeechCommandsCorpus(), corpus, corpus / "m", seed=1)
    assert "train_data.csv" in str(caught.value)


def test_a_missing_split_is_an_error_not_a_share_of_train(corpus):
    table = corpus / FOLDER / "data/valid_data.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    with pytest.raises(CorpusError, match="no recordings in split 'valid'"):
        prepare_corpus(FluentSpeechCommandsCorpus(), corpus, corpus / "m", seed=1)
    table.unlink()
    with pytest.raises(CorpusError, match=r"valid_data\.csv: cannot be read"):
        prepare_corpus(FluentSpeechCommandsCorpus(), corpus, corpus / "m", seed=1)
