"""Any bytes as a table, a folder of Kaldi, a manifest of lhotse or a data set of the hub."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from properties import CELLS, edited, examples, soon
from speechprompt.config.corpora import KaldiCorpus, LhotseCorpus, ParquetCorpus
from speechprompt.corpora.registry import listing_of
from speechprompt.corpora.table import read_recordings, read_table
from speechprompt.errors import CorpusError


@pytest.mark.parametrize(("ending", "mark"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
@examples(60)
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=5))
def test_cells_of_a_table_come_back(tmp_path, ending, mark, rows):
    assume(all(any(cell.strip() for cell in row) for row in rows))
    path = tmp_path / f"table.{ending}"
    with path.open("w", encoding="utf-8", newline="") as stream:
        if ending == "tsv":
            lines = [["path", "split", "label"], *rows]
            stream.write("".join("\t".join(cells) + "\n" for cells in lines))
        else:
            writer = csv.writer(stream, delimiter=mark)
            writer.writerows([["path", "split", "label"], *rows])
    _, found = read_table(path, ["path"])
    expected = [[cell.strip() for cell in row] for row in rows]
    assert [list(row.values()) for _, row in found] == expected


HEADER = b"path,split,label\na.wav,train,yes\nb.wav,test,no\n"


@examples(150)
@given(
    content=st.one_of(st.binary(max_size=60), edited(HEADER), edited(HEADER.replace(b",", b"\t"))),
    name=st.sampled_from(["t.csv", "t.tsv"]),
)
def test_any_bytes_are_a_table_or_an_error(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with soon(CorpusError, path):
        recordings, labels = read_recordings(path)
        assert recordings
        assert all(set(item.labels) == set(labels) for item in recordings)


def lists_recordings(corpus, root):
    """List a corpus; whatever it lists is in a split and has all labels."""
    listing = listing_of(corpus).list_recordings(corpus, root, 1)
    for item in listing.recordings:
        assert item.split == "train"
        assert set(item.labels) == set(listing.label_columns)


SEGMENTS = b"a r 0 1.5\nb r 1.5 2 0\n"


@examples(100)
@given(
    name=st.sampled_from(["wav.scp", "segments", "text", "utt2spk", "utt2lang"]),
    content=st.one_of(st.binary(max_size=40), edited(SEGMENTS), edited(b"r a.wav\ns b.wav\n")),
)
def test_any_bytes_are_a_folder_of_kaldi_or_an_error(tmp_path, name, content):
    files = {"wav.scp": b"r a.wav\n", "segments": SEGMENTS, "text": b"a x\nb y z\n"}
    for path in tmp_path.iterdir():
        path.unlink()
    for file, text in (files | {name: content}).items():
        (tmp_path / file).write_bytes(text)
    with soon(CorpusError, tmp_path):
        lists_recordings(KaldiCorpus(train=str(tmp_path)), tmp_path)


RECORDING = {
    "id": "r",
    "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
    "duration": 2.0,
}
SUPERVISION = {"id": "u", "recording_id": "r", "start": 0.5, "duration": 1, "channel": 0}
MANIFEST = "".join(json.dumps(one) + "\n" for one in (RECORDING, SUPERVISION)).encode()
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.just([0])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@examples(200)
@given(
    content=st.one_of(
        st.binary(max_size=40),
        edited(MANIFEST),
        st.tuples(st.sampled_from([*RECORDING, *SUPERVISION, "type", "recording"]), VALUES).map(
            lambda pair: "".join(
                json.dumps(one | {pair[0]: pair[1]}) + "\n" for one in (RECORDING, SUPERVISION)
            ).encode()
        ),
    )
)
def test_any_bytes_are_a_manifest_of_lhotse_or_an_error(tmp_path, content):
    path = tmp_path / "cuts.jsonl"
    path.write_bytes(content)
    with soon(CorpusError, path):
        lists_recordings(LhotseCorpus(train=str(path)), tmp_path)


HUB = {"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}


@examples(100)
@given(text=st.one_of(st.binary(max_size=40), edited(json.dumps(HUB).encode())))
def test_any_metadata_of_the_hub_name_classes_or_are_an_error(tmp_path, text):
    path = tmp_path / "train.parquet"
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"audio": pa.array([{"bytes": b"x", "path": None}] * 2, kind), "label": [0, 1]}
    pq.write_table(pa.table(columns).replace_schema_metadata({"huggingface": text}), path)
    with soon(CorpusError, path):
        lists_recordings(ParquetCorpus(folder=str(tmp_path)), tmp_path)
