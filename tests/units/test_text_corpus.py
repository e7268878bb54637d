from __future__ import annotations

import hashlib

import pyarrow.parquet as pq
import pytest

from speechprompt.config.corpora import UnitsCorpus
from speechprompt.errors import CorpusError
from speechprompt.units.text_corpus import prepare_units, read_vocabulary

KS_CLASSES = [
    "yes",
    "no",
    "up",
    "down",
    "left",
    "right",
    "on",
    "off",
    "stop",
    "go",
    "_unknown_",
    "_silence_",
]


@pytest.fixture
def corpus(tmp_path):
    """Prepare a small corpus; options replace the text of its files."""
    files = {
        "dict": "".join(f"{unit} 1\n" for unit in (2, 0, 1, 3)) + "madeupword0000 0\n",
        "train": "".join(
            f"{a} {b} {a} <s> {a % 2}\n" for a in range(4) for b in range(4) if a != b
        ),
        "valid": "x/1.wav|0 1 2|1\nx/1.wav|3 1|0\n",
        "test": "y.wav|3 0|0\n",
    }

    def prepare(changes=None, **options):
        for name, text in {**files, **(changes or {})}.items():
            (tmp_path / name).write_text(text)
        parts = ["train", "valid", "test", *(["dev"] if options.get("dev_fraction", 0.1) else [])]
        texts = {name: str(tmp_path / name) for name in ("train", "valid", "test")}
        corpus = UnitsCorpus(codebook="toy", **texts, **options)
        return {
            split: prepare_units(
                split,
                tmp_path / f"{split}.parquet",
                corpus,
                dictionary=tmp_path / "dict",
            )
            for split in parts
        }

    return prepare


def rows(folder, split):
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


def test_splits_columns_and_metadata(tmp_path, corpus):
    counts = corpus(dev_fraction=0.3)
    assert set(counts) == {"train", "dev", "valid", "test"}
    assert counts["train"] + counts["dev"] == 12
    assert rows(tmp_path, "valid") == [
        {
            "utt_id": utt_id,
            "path": None,
            "units": units,
            "durations": None,
            "n_frames": None,
            "speaker": None,
            "label": label,
        }
        for utt_id, units, label in (("x/1.wav", [0, 1, 2], "1"), ("x/1.wav-2", [3, 1], "0"))
    ]
    metadata = pq.read_schema(tmp_path / "dev.parquet").metadata
    assert metadata == {
        b"codebook": b"external:toy",
        b"codebook_sha256": hashlib.sha256((tmp_path / "dict").read_bytes()).hexdigest().encode(),
        b"n_units": b"4",
        b"dedup": b"true",
    }
    ids = [row["utt_id"] for split in counts for row in rows(tmp_path, split)]
    assert len(set(ids)) == len(ids)


def test_equal_units_stay_on_one_side(tmp_path, corpus):
    text = "".join(f"{a} {b} <s> {label}\n" for a in range(4) for b in range(4) for label in "01")
    counts = corpus({"train": text}, dev_fraction=0.4)
    assert counts["train"] + counts["dev"] == 32
    units = {
        split: {tuple(row["units"]) for row in rows(tmp_path, split)} for split in ("train", "dev")
    }
    assert not units["train"] & units["dev"]
    assert metadata_of(tmp_path)[b"dedup"] == b"false"


def metadata_of(folder):
    return pq.read_schema(folder / "train.parquet").metadata


def test_repeated_lines_are_kept_once_where_asked(tmp_path, corpus):
    text = "0 1 <s> 0\n0 1 <s> 1\n0 1 <s> 0\n2 1 <s> 0\n"
    assert corpus({"train": text}, dev_fraction=0)["train"] == 3
    assert [row["utt_id"] for row in rows(tmp_path, "train")] == [
        f"train-00000{number}" for number in (1, 2, 4)
    ]
    assert corpus({"train": text}, dev_fraction=0, deduplicate=False)["train"] == 4


@pytest.mark.parametrize("shape", ["list", "mapping"])
def test_label_names_count_through_the_columns(tmp_path, corpus, shape):
    names = {"action": ["go", "stop"], "place": ["here", "there", "nowhere"]}
    flat = [name for column in names.values() for name in column]
    corpus(
        {"train": "0 1 <s> 0 4\n2 3 <s> 1 2\n", "valid": "a|0 1|1 3\n", "test": "b|0 1|0 2\n"},
        dev_fraction=0,
        columns=["action", "place"],
        label_names=flat if shape == "list" else names,
    )
    train = rows(tmp_path, "train")
    assert [(row["action"], row["place"]) for row in train] == [("go", "nowhere"), ("stop", "here")]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"train": "0 1 <s> 0\n0 4 <s> 0\n"}, {}, r"train:2: expected units 0 to 3 .* found '4'"),
        ({"train": "0 1 <s> 0\n0 x <s> 0\n"}, {}, r"train:2: expected units .* found 'x'"),
        ({"train": "0 1 2\n"}, {}, "train:1: expected 'units <s> labels'"),
        ({"valid": "a|0 1\n"}, {}, "valid:1: expected 'units <s> labels'"),
        ({"valid": "a||1\n"}, {}, "valid:1: no units"),
        ({"valid": "a|1|1 2\n"}, {}, r"valid:1: expected 1 labels \(label\), found 2"),
        ({"test": ""}, {}, "test: no lines"),
        ({"dict": "0 1\n2 1\n"}, {}, "dict: expected the units 0 to K-1, found 2 units without 1"),
        (
            {"dict": "".join(f"{unit} 1\n" for unit in range(40_000)), "test": "a|1 39999|0\n"},
            {},
            "dict: expected at most 32,767 units, found 40,000",
        ),
        ({"dict": "0\n"}, {}, "dict:1: expected 'symbol count'"),
        ({}, {"label_names": ["only"]}, r"expected a label index 0 to 0 for 'label', found '1'"),
        ({}, {"label_names": {"other": ["a"]}}, "expected the columns label, found other"),
        ({}, {"columns": ["units"]}, "'units' is the name of another column"),
        ({"train": "0 1 <s> 0\n"}, {}, "leaves train or dev empty"),
    ],
)
def test_mistakes_are_named(corpus, changes, options, message):
    with pytest.raises(CorpusError, match=message):
        corpus(changes, **options)


@pytest.mark.parametrize(
    ("table", "changes", "message"),
    [
        ("1,A\n2,B", {}, r"train:2: 'bird/1\.wav' and 'bed/1\.wav' would both .* '1' in .*table"),
        ("1,A\n2,B", {"train": "bed/1.wav|1\n", "valid": "2/1|1\n"}, r"valid:1: '2/1' and 'bed/1"),
        ("1,A", {"train": "1|1\nbed/1.wav|1\n"}, r"train:2: 'bed/1\.wav' and '1' would"),
    ],
)
def test_two_recordings_have_no_row_in_common(tmp_path, corpus, table, changes, message):
    lines = {"train": "bed/1.wav|1 2\nbird/1.wav|2 3\ncat/2.wav|3 1\n", "valid": "y/2|1 2\n"}
    files = {**lines, "test": "cat/2.wav|1\n", **changes, "table": f"utt_id,label\n{table}\n"}
    options = {"table": str(tmp_path / "table"), "dev_fraction": 0}
    with pytest.raises(CorpusError, match=message):
        corpus(files, **options)


def test_recordings_find_their_rows_by_name_or_stem(tmp_path, corpus):
    rows_of = "bed/1.wav,A\nbird/1.wav,B\n2,C\n"
    train = "bed/1.wav|1 2\nbird/1.wav|2 3\nbird/1.wav|3 2\ncat/2.wav|3 1\n"
    files = {"train": train, "valid": "cat/2.wav|0\n", "test": "cat/2.wav|1\n"}
    files["table"] = f"utt_id,label\n{rows_of}"
    corpus(files, table=str(tmp_path / "table"), dev_fraction=0)
    assert [row["label"] for row in rows(tmp_path, "train")] == ["A", "B", "B", "C"]


def test_splits_that_are_not_there(tmp_path, corpus):
    corpus(dev_fraction=0)
    files = {name: str(tmp_path / name) for name in ("train", "valid")}
    for split in ("dev", "test"):
        settings = UnitsCorpus(codebook="toy", dev_fraction=0, **files)
        with pytest.raises(CorpusError, match=f"expected train, valid .* found '{split}'"):
            prepare_units(split, tmp_path / "x.parquet", settings, dictionary=tmp_path / "dict")


def test_published_units(tmp_path, shared_data):
    folder = shared_data / "units"
    corpus = UnitsCorpus(
        codebook="hubert100",
        train=str(folder / "speech_commands" / "train.txt"),
        valid=str(folder / "speech_commands" / "valid.txt"),
        label_names=KS_CLASSES,
    )
    counts = {
        split: prepare_units(
            split,
            tmp_path / f"{split}.parquet",
            corpus,
            dictionary=folder / "dict.hubert100.txt",
        )
        for split in ("train", "dev", "valid")
    }
    assert counts["train"] + counts["dev"] == 24_821
    assert counts["valid"] == 6_804
    assert {row["label"] for row in rows(tmp_path, "dev")} == set(KS_CLASSES)
    assert len(read_vocabulary(folder / "dict.hubert100.txt")) == 100


def test_a_speaker_in_two_unicode_forms_is_one(tmp_path, corpus):
    table = "utt_id,label,speaker\na,x,Jos\u00e9\nb,y,Jose\u0301\nc,x,\nd,y,Ana\n"
    files = {"train": "a|0 1\nb|2 3\n", "valid": "c|1 2\n", "test": "d|3\n", "table": table}
    corpus(files, table=str(tmp_path / "table"), dev_fraction=0)
    assert {row["speaker"] for row in rows(tmp_path, "train")} == {"Jos\u00e9"}
    assert rows(tmp_path, "valid")[0]["speaker"] is None
