from __future__ import annotations

import csv
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from speechprompt.corpora.manifest import Listing, Recording, unique_ids, write_manifests
from speechprompt.corpora.validate import validate_corpus
from speechprompt.errors import CorpusError

SPLITS = ("train", "valid", "test")


def listing(n_train: int, n_valid: int = 2, n_test: int = 2, first: int = 0) -> list[Recording]:
    sizes = zip(SPLITS, (n_train, n_valid, n_test), strict=True)
    splits = [split for split, size in sizes for _ in range(size)]
    return [
        Recording(f"{split}/{first + index:03d}.wav", split, {"label": "ab"[index % 2]}, "kim")
        for index, split in enumerate(splits)
    ]


def write(recordings, root, out, **options) -> dict[str, int]:
    labels = options.pop("label_columns", ["label"])
    listing = Listing(recordings, labels, options.pop("valid_fraction", 0.1))
    return write_manifests(listing, root, out, **{"seed": 1, **options})


def ids(folder, split) -> list[str]:
    return pq.read_table(folder / f"{split}.parquet")["utt_id"].to_pylist()


def test_rows_and_schema(tmp_path, record):
    recordings = listing(3)
    record(tmp_path, *(item.path for item in recordings))
    assert write(recordings, tmp_path, tmp_path / "m") == {"train": 3, "valid": 2, "test": 2}
    table = pq.read_table(tmp_path / "m" / "train.parquet")
    assert table.schema.names == ["utt_id", "path", "n_samples", "sample_rate", "speaker", "label"]
    assert table.to_pylist()[1] == {
        "utt_id": "train/001",
        "path": "train/001.wav",
        "n_samples": 401,
        "sample_rate": 8000,
        "speaker": "kim",
        "label": "b",
    }
    assert pq.read_table(tmp_path / "m" / "rejects.parquet").num_rows == 0
    assert validate_corpus(tmp_path / "m", label_columns=["label"]) == {
        "train": 3,
        "valid": 2,
        "test": 2,
    }


def test_order_and_bytes_do_not_depend_on_threads(tmp_path, record):
    recordings = listing(40)
    record(tmp_path, *(item.path for item in recordings))
    write(recordings, tmp_path, tmp_path / "one", threads=1)
    write(recordings, tmp_path, tmp_path / "four", threads=4)
    assert ids(tmp_path / "one", "train") == [f"train/{index:03d}" for index in range(40)]
    for split in (*SPLITS, "rejects"):
        name = f"{split}.parquet"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "four" / name).read_bytes()


def test_valid_is_a_seeded_share_of_train_that_stays(tmp_path, record):
    few, many = listing(60, 0), listing(100, 0)
    record(tmp_path, *{item.path for item in few + many})
    write(few, tmp_path, tmp_path / "few", valid_fraction=0.2)
    write(many, tmp_path, tmp_path / "many", valid_fraction=0.2)
    write(many, tmp_path, tmp_path / "other", valid_fraction=0.2, seed=2)
    valid = {name: set(ids(tmp_path / name, "valid")) for name in ("few", "many", "other")}
    first = {f"train/{index:03d}" for index in range(60)}
    assert 10 <= len(valid["many"]) <= 30
    assert valid["few"] == valid["many"] & first
    assert valid["other"] != valid["many"]
    assert not valid["many"] & set(ids(tmp_path / "many", "train"))


def test_small_corpora_get_one_valid_recording(tmp_path, record):
    recordings = listing(2, 0)
    record(tmp_path, *(item.path for item in recordings))
    counts = write(recordings, tmp_path, tmp_path / "m", valid_fraction=1e-9)
    assert counts == {"train": 1, "valid": 1, "test": 2}


@pytest.mark.parametrize(
    ("sizes", "fraction", "message"),
    [
        ((3, 1, 0), 0.1, "no recordings in split 'test'"),
        ((0, 1, 3), 0.1, "no recordings in split 'train'"),
        ((3, 0, 1), 0.0, "no recordings in split 'valid'"),
        ((1, 0, 1), 0.5, "leaves one of both empty"),
        ((0, 0, 0), 0.1, "no recordings"),
    ],
)
def test_missing_splits_are_errors(tmp_path, sizes, fraction, message):
    with pytest.raises(CorpusError, match=message):
        write(listing(*sizes), tmp_path, tmp_path / "m", valid_fraction=fraction)


def test_a_corpus_without_labels_needs_no_test(tmp_path, record):
    recordings = [Recording(item.path, item.split, {}) for item in listing(3, 1, 0)]
    record(tmp_path, *(item.path for item in recordings))
    counts = write(recordings, tmp_path, tmp_path / "m", label_columns=())
    assert counts == {"train": 3, "valid": 1, "test": 0}


def test_repeated_paths_are_refused_however_written(tmp_path):
    recordings = [*listing(2), Recording("train/../train/./000.wav", "test", {"label": "a"})]
    with pytest.raises(CorpusError, match=r"more than once: train/000\.wav"):
        write(recordings, tmp_path, tmp_path / "m")


def test_a_file_is_listed_once_whatever_its_path(tmp_path, record):
    recordings = listing(3)
    record(tmp_path, *(item.path for item in recordings))
    (tmp_path / "linked").symlink_to("train")
    for alias in (str(tmp_path / "train/000.wav"), "linked/000.wav"):
        twice = [*recordings, Recording(alias, "test", {"label": "a"})]
        with pytest.raises(CorpusError, match=r"train/000\.wav \(train\) and .* the same file"):
            write(twice, tmp_path, tmp_path / "m")


def test_a_speaker_in_two_unicode_forms_is_one(tmp_path, record):
    recordings = [
        replace(item, speaker=("Jos\u00e9", "Jose\u0301")[i % 2])
        for i, item in enumerate(listing(4))
    ]
    record(tmp_path, *(item.path for item in recordings))
    write(recordings, tmp_path, tmp_path / "m")
    found = pq.read_table(tmp_path / "m/train.parquet")["speaker"].to_pylist()
    assert set(found) == {"Jos\u00e9"}


def test_copies_in_a_later_split_are_counted(tmp_path, record, capsys):
    recordings = listing(3)
    record(tmp_path, *(item.path for item in recordings))
    first, copy = tmp_path / "train/000.wav", tmp_path / "test/005.wav"
    samples, rate = soundfile.read(first, dtype="int16")
    write(recordings, tmp_path, tmp_path / "m")
    assert "warning" not in capsys.readouterr().err
    # Another header around the same samples.
    soundfile.write(copy, samples, rate, format="AIFF")
    write(recordings, tmp_path, tmp_path / "m", max_repeated=0.5)
    told = capsys.readouterr().err
    assert "1 of 2 recordings in test have the same samples as recordings of an earlier" in told
    assert "(1 in train)" in told
    assert "1 of 1 speakers in test are in train too: " in told
    with pytest.raises(CorpusError, match=r"more than max_repeated = 0\.4 allows"):
        write(recordings, tmp_path, tmp_path / "m", max_repeated=0.4)


def test_a_few_unusable_recordings_are_listed_and_passed_over(tmp_path, record):
    recordings = listing(10)
    record(tmp_path, *(item.path for item in recordings))
    (tmp_path / "train/003.wav").write_bytes(b"")
    counts = write(recordings, tmp_path, tmp_path / "m", max_rejected=0.1)
    assert counts == {"train": 9, "valid": 2, "test": 2}
    assert pq.read_table(tmp_path / "m" / "rejects.parquet").to_pylist() == [
        {"path": "train/003.wav", "split": "train", "reason": "empty: 0 bytes"}
    ]
    assert "train/003" not in ids(tmp_path / "m", "train")


def test_too_many_unusable_recordings_stop_the_run_and_are_still_listed(tmp_path, record):
    recordings = listing(10)
    record(tmp_path, *(item.path for item in recordings[2:]))
    with pytest.raises(CorpusError, match=r"2 of 14 .* more than max_rejected = 0.1") as caught:
        write(recordings, tmp_path, tmp_path / "m", max_rejected=0.1)
    report = tmp_path / "m" / "rejects.failed.csv"
    assert str(report) in str(caught.value)
    assert "train/000.wav (file not found)" in str(caught.value)
    with report.open(newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == ["train/000.wav", "train/001.wav"]
    assert not (tmp_path / "m" / "train.parquet").exists()

    record(tmp_path, "train/000.wav", "train/001.wav")
    write(recordings, tmp_path, tmp_path / "m", max_rejected=0.1)
    assert not report.exists()


def test_a_split_without_usable_recordings_is_an_error(tmp_path, record):
    recordings = listing(10, 2, 1)
    record(tmp_path, *(item.path for item in recordings[:-1]))
    with pytest.raises(CorpusError, match="no usable recording in split 'test'"):
        write(recordings, tmp_path, tmp_path / "m", max_rejected=0.5)


def test_ids_are_distinct(tmp_path, record):
    assert unique_ids(["a", "b", "a", "a-2", "a"]) == ["a", "b", "a-3", "a-2", "a-4"]
    assert unique_ids(["x", "y"]) == ["x", "y"]
    recordings = [*listing(2), Recording("train/000.flac", "train", {"label": "a"})]
    record(tmp_path, *(item.path for item in recordings))
    write(recordings, tmp_path, tmp_path / "m")
    assert ids(tmp_path / "m", "train") == ["train/000", "train/001", "train/000-2"]


@pytest.fixture
def prepared(tmp_path, record):
    recordings = listing(4)
    record(tmp_path, *(item.path for item in recordings))
    write(recordings, tmp_path, tmp_path / "m")
    return tmp_path


def alter(folder, split, change) -> None:
    path = folder / "m" / f"{split}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        ("test", lambda table: table.slice(0, 0), "expected utterances, found none"),
        ("test", lambda table: table.drop_columns(["n_samples"]), "expected the columns"),
        ("test", lambda table: pa.concat_tables([table, table]), "utt_id 'test/006' occurs"),
        (
            "test",
            lambda table: table.set_column(1, "path", pa.array(["train/000.wav", "x.wav"])).cast(
                table.schema
            ),
            r"path 'train/000\.wav' occurs in 'train' and again in 'test'",
        ),
        (
            "valid",
            lambda table: table.set_column(5, "label", pa.array(["a", ""])).cast(table.schema),
            "column 'label' is empty",
        ),
    ],
)
def test_validate_finds_damage(prepared, split, change, message):
    alter(prepared, split, change)
    with pytest.raises(CorpusError, match=message):
        validate_corpus(prepared / "m", label_columns=["label"])


def test_validate_wants_labels_files_and_manifests(prepared):
    with pytest.raises(CorpusError, match="without intent; found label"):
        validate_corpus(prepared / "m", label_columns=["label", "intent"])
    (prepared / "valid/004.wav").unlink()
    with pytest.raises(CorpusError, match=r"valid\.parquet: expected the file .*004\.wav"):
        validate_corpus(prepared / "m")
    (prepared / "m" / "train.parquet").unlink()
    with pytest.raises(CorpusError, match=r"train\.parquet: not a readable manifest"):
        validate_corpus(prepared / "m")


def test_the_list_of_failed_recordings_is_safe_in_a_sheet_and_on_a_terminal(tmp_path, record):
    names = ["=HYPERLINK(1).wav", "+1.wav", "-1.wav", "@a.wav", "\ta.wav", "a\x1b[2J.wav"]
    recordings = [Recording(name, "train", {"label": "a"}) for name in names] + listing(1)
    with pytest.raises(CorpusError, match="max_rejected"):
        write(recordings, tmp_path, tmp_path / "m", max_rejected=0.1)
    with (tmp_path / "m" / "rejects.failed.csv").open(newline="") as stream:
        found = [row["path"] for row in csv.DictReader(stream)][: len(names)]
    assert found == [*(f"'{name}" for name in names[:4]), "'\\ta.wav", "a\\x1b[2J.wav"]
