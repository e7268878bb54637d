import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.storage.files import read_json
from speechprompt.units.unit_files import (
    UnitsMetadata,
    gather_units,
    read_units,
    take_units,
    write_units,
)

METADATA = UnitsMetadata(codebook="external:km4", codebook_sha256="ab" * 32, n_units=4, dedup=True)


def write_part(path, utt_ids, metadata=METADATA, labels=("word",), **columns):
    columns = {
        "utt_id": utt_ids,
        "units": [[index % 4, 3] for index, _ in enumerate(utt_ids)],
        **{label: [f"{label}-{utt_id}" for utt_id in utt_ids] for label in labels},
        **columns,
    }
    write_units(path, columns, label_columns=labels, metadata=metadata)
    return path


@pytest.fixture
def split(tmp_path):
    """Two parts, and a stale third one of another shard count."""
    parts = [
        write_part(tmp_path / "part-00000-of-00002.parquet", ["a", "b"]),
        write_part(tmp_path / "part-00001-of-00002.parquet", ["c"]),
    ]
    write_part(tmp_path / "part-00000-of-00001.parquet", ["a", "b", "c"])
    index = tmp_path / "index.json"
    gather_units(parts, index, corpus="ks", split="train")
    return index, parts


def test_the_index_lists_the_parts(split):
    index = read_json(split[0])
    parts = index.pop("parts")
    assert index == {
        "codebook": "external:km4",
        "codebook_sha256": "ab" * 32,
        "n_units": 4,
        "corpus": "ks",
        "split": "train",
        "label_columns": ["word"],
        "n_utterances": 3,
    }
    assert [(part["name"], part["n_utterances"]) for part in parts] == [
        ("part-00000-of-00002.parquet", 2),
        ("part-00001-of-00002.parquet", 1),
    ]


def test_a_split_is_read_through_its_index(split):
    table = read_units(split[0])
    assert table["utt_id"].to_pylist() == ["a", "b", "c"]
    assert table["units"].to_pylist() == [[0, 3], [1, 3], [0, 3]]
    assert table["units"].type == pa.list_(pa.int16())
    assert table.column_names == [
        "utt_id", "path", "units", "durations", "n_frames", "speaker", "word"
    ]  # fmt: skip
    assert table["durations"].to_pylist() == [None] * 3
    assert table.schema.metadata[b"codebook_sha256"] == b"ab" * 32
    assert b"encoder" not in table.schema.metadata


def test_columns_come_in_the_order_asked_for(split):
    table = read_units(split[0], ["word", "utt_id"])
    assert table.column_names == ["word", "utt_id"]
    with pytest.raises(ArtefactError, match="expected column 'wort', found utt_id"):
        read_units(split[0], ["wort"])


def test_a_replaced_part_is_refused(split):
    index, parts = split
    write_part(parts[1], ["d"])
    with pytest.raises(ArtefactError, match=r"part-00001-of-00002\.parquet: expected sha256"):
        read_units(index)


def test_a_missing_part_is_refused(split):
    index, parts = split
    parts[0].unlink()
    with pytest.raises(ArtefactError, match=r"part-00000-of-00002\.parquet: listed in"):
        read_units(index)


def test_other_json_is_no_index(tmp_path):
    for content in ("[]", "{}", '{"parts": [1]}', "nonsense"):
        (tmp_path / "index.json").write_text(content)
        with pytest.raises(ArtefactError, match=r"index\.json"):
            read_units(tmp_path / "index.json")
    with pytest.raises(ArtefactError, match=r"absent\.json"):
        read_units(tmp_path / "absent.json")


def test_no_utterance_twice(split):
    index, parts = split
    write_part(parts[1], ["b"])
    with pytest.raises(ArtefactError, match="'b' twice"):
        gather_units(parts, index, corpus="ks", split="train")


def test_parts_must_belong_together(split, tmp_path):
    index, parts = split
    other = UnitsMetadata("external:km4", "cd" * 32, 4, True)
    write_part(parts[1], ["c"], metadata=other)
    with pytest.raises(ArtefactError, match="found others"):
        gather_units(parts, index, corpus="ks", split="train")
    write_part(parts[1], ["c"], labels=("word", "speaker_id"))
    with pytest.raises(ArtefactError, match="found others"):
        gather_units(parts, index, corpus="ks", split="train")
    elsewhere = write_part(tmp_path / "elsewhere" / "part.parquet", ["c"])
    with pytest.raises(ArtefactError, match="expected a file beside"):
        gather_units([parts[0], elsewhere], index, corpus="ks", split="train")
    with pytest.raises(ArtefactError, match="found none"):
        gather_units([], index, corpus="ks", split="train")


def test_the_parts_are_the_whole_manifest(split, tmp_path):
    index, parts = split
    manifest = tmp_path / "manifest.parquet"
    pq.write_table(pa.table({"utt_id": ["a", "b", "c"]}), manifest)
    gather_units(parts, index, corpus="ks", split="train", manifest_path=manifest)
    with pytest.raises(ArtefactError, match=r"3 utterances of .*found 2"):
        gather_units(parts[:1], index, corpus="ks", split="train", manifest_path=manifest)


def test_units_outside_the_codebook_are_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"'b': expected units 0 to 3 .*found 1 to 4"):
        write_part(tmp_path / "part", ["a", "b"], units=[[0, 3], [4, 1]])
    with pytest.raises(CorpusError, match="found -1 to 1"):
        write_part(tmp_path / "part", ["a"], units=[np.array([1, -1])])
    assert not (tmp_path / "part").exists()


def test_an_utterance_without_units_is_kept(tmp_path):
    write_part(tmp_path / "part.parquet", ["a"], units=[[]])
    assert pq.read_table(tmp_path / "part.parquet")["units"].to_pylist() == [[]]


def test_units_are_taken_from_other_splits(split, tmp_path):
    index, _ = split
    part = write_part(tmp_path / "more/part.parquet", ["d", "e"])
    more = tmp_path / "more/index.json"
    gather_units([part], more, corpus="ks", split="test")
    wanted, out = tmp_path / "manifest.parquet", tmp_path / "taken.parquet"
    pq.write_table(pa.table({"utt_id": ["e", "a", "c"]}), wanted)
    assert take_units([index, more], wanted, out) == 3
    whole = pa.concat_tables([read_units(index), read_units(more)])
    assert pq.read_table(out).equals(whole.take([4, 0, 2]))
    assert pq.read_schema(out).metadata == pq.read_schema(part).metadata
    with pytest.raises(ArtefactError, match=r"manifest.parquet: the units of 'e' are not in"):
        take_units([index], wanted, out)
    write_part(part, ["d", "e"], METADATA.__class__(**{**vars(METADATA), "n_units": 5}))
    gather_units([part], more, corpus="ks", split="test")
    with pytest.raises(ArtefactError, match=r"more/index.json: expected columns, codebook"):
        take_units([index, more], wanted, out)
