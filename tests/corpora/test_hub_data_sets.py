"""Data sets of the hub in Parquet files: audio in cells, classes, splits by name."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from foreign import HUB, SPLITS, prepare, write_hub

from small_run import RATE, sound
from speechprompt.config.corpora import ParquetCorpus
from speechprompt.corpora.parquet import _split_of
from speechprompt.corpora.registry import listing_of
from speechprompt.errors import CorpusError


def cell(number, name=None):
    return {"bytes": wave(number), "path": name}


def wave(number):
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(number, 1.0), RATE, format="WAV")
    return buffer.getvalue()


def test_columns_of_the_hub(tmp_path, capsys):
    cells = [cell(i) for i in range(4)]
    columns = {
        "split": ["train", "validation", "TEST", "train"],
        "label": pa.array([1, 0, -1, None], pa.int64()),
        "count": [1, 2, 3, 4],
        "age": [20.0, float("nan"), None, 30.5],
        "speaker": ["ann", None, "bob", "ann"],
        "path": ["a", "b", "c", "d"],
        "vector": [[1.0], [2.0], [], []],
        "start": pa.array([None, 0.25, None, None], pa.float64()),
        "end": pa.array([None, 0.75, 0.5, None], pa.float64()),
    }
    classes = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "data/b.wav", sound(9, 1.0), RATE)
    cells[3] = {"bytes": None, "path": "b.wav"}
    write_hub(tmp_path / "data/all.parquet", cells, columns, classes)
    corpus = ParquetCorpus(folder=str(tmp_path), split="split")
    assert prepare(corpus, tmp_path) == {"train": 2, "valid": 1, "test": 1}
    assert "columns that are no labels: path, vector" in capsys.readouterr().err
    rows = [
        row
        for split in SPLITS
        for row in pq.read_table(tmp_path / f".m/{split}.parquet").to_pylist()
    ]
    name = "data/all"
    assert [(row["utt_id"], row["path"], row["n_samples"]) for row in rows] == [
        (f"{name}-000000", f"{name}.parquet#column=audio&row=0", RATE),
        ("b", "data/b.wav", RATE),
        (
            "data/all-000001-0000250-0000750",
            "data/all.parquet#t=0.25,0.75&column=audio&row=1",
            8000,
        ),
        ("data/all-000002-0000000-0000500", "data/all.parquet#t=0,0.5&column=audio&row=2", 8000),
    ]
    assert [row["label"] for row in rows] == ["yes", "", "no", ""]
    assert [row["count"] for row in rows] == ["1", "4", "2", "3"]
    assert [row["speaker"] for row in rows] == ["ann", "ann", None, "bob"]
    assert [row["age"] for row in rows] == ["20.0", "30.5", "", ""]
    assert listing_of(corpus).label_columns_of(corpus) == ["label", "count", "age", "speaker"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002", "train"),
        ("data/train.clean.100-00000-of-00002", "train"),
        ("validation/0000", "valid"),
        ("dev_other", "valid"),
        ("my_test", "test"),
        ("training/eval", "test"),
    ],
)
def test_splits_by_name(tmp_path, name, split):
    assert _split_of(f"{name}.parquet", tmp_path) == split


@pytest.mark.parametrize("name", ["latest", "trainer", "0000", "attest/contrain"])
def test_names_without_a_split(tmp_path, name):
    write_hub(tmp_path / f"{name}.parquet", [cell(0)], {"label": ["x"]})
    with pytest.raises(CorpusError, match=r"expected train, valid .* in the name of the file"):
        prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)


@pytest.mark.parametrize(
    ("settings", "columns", "message"),
    [
        ({}, {"label": pa.array([7], pa.int64())}, "row 0: expected a class 0 to 1 as label"),
        ({"split": "part"}, {"label": [1]}, r"expected the column 'part' \(split\), found audio"),
        ({"speaker": "who"}, {"label": [1]}, r"expected the column 'who' \(speaker\)"),
        ({"audio": "speech"}, {"label": [1]}, "of bytes and path named 'speech'.*found 0"),
        ({}, {"speech": pa.array([None], HUB)}, "found 2 among audio, speech; name it as audio"),
        ({"split": "part"}, {"part": ["x"]}, "row 0: expected split train, valid or test, found"),
        ({}, {"start": [2.0], "end": [1.0]}, "row 0: expected an end after the start 2, found 1"),
    ],
)
def test_wrong_data_sets(tmp_path, settings, columns, message):
    classes = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    write_hub(tmp_path / "train.parquet", [cell(0)], columns, classes)
    with pytest.raises(CorpusError, match=rf"train\.parquet.*{message}"):
        prepare(ParquetCorpus(folder=str(tmp_path), **settings), tmp_path)


def test_files_that_do_not_belong_together(tmp_path):
    with pytest.raises(CorpusError, match="expected Parquet files in or below this folder"):
        prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)
    write_hub(tmp_path / "train.parquet", [cell(0)], {"label": ["x"]})
    write_hub(tmp_path / "valid.parquet", [cell(1)], {"mood": ["x"]})
    with pytest.raises(CorpusError, match=r"valid\.parquet: expected the columns label as in"):
        prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)
    write_hub(tmp_path / "valid.parquet", [{"bytes": None, "path": None}], {"label": ["x"]})
    with pytest.raises(CorpusError, match=r"valid\.parquet, row 0: column 'audio' has neither"):
        prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)
    (tmp_path / "valid.parquet").write_text("nothing of the kind")
    with pytest.raises(CorpusError, match=r"valid\.parquet: cannot be read as Parquet"):
        prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)


def test_metadata_of_the_hub_that_are_damaged(tmp_path):
    table = pa.table({"audio": pa.array([cell(0)], HUB)})
    for text in ("{", "[]", '{"info": {"features": {"x": {"_type": "ClassLabel"}}}}'):
        pq.write_table(
            table.replace_schema_metadata({"huggingface": text}), tmp_path / "train.parquet"
        )
        with pytest.raises(CorpusError, match=r"train\.parquet: cannot read its metadata"):
            prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)


def test_the_hubs_library_writes_what_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        audio=datasets.Audio(), label=datasets.ClassLabel(names=["no", "yes"])
    )
    for i, split in enumerate(SPLITS):
        rows = {"audio": [cell(i, f"{split}.wav")], "label": [i % 2]}
        # Not from_dict, which would encode audio that is encoded already.
        table = pa.table(rows).cast(features.arrow_schema)
        data = datasets.Dataset(table, datasets.DatasetInfo(features=features))
        data.to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)
    assert pq.read_table(tmp_path / ".m/valid.parquet")["label"].to_pylist() == ["yes"]
