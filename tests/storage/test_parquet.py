import pyarrow as pa
import pytest

from speechprompt.errors import ArtefactError
from speechprompt.storage.parquet import (
    metadata_of,
    open_parquet,
    read_parquet,
    schema_metadata,
    write_parquet,
)

TABLE = pa.table({"a": [1, 2], "b": ["x", None]})


def test_a_table_comes_back_with_its_metadata(tmp_path):
    path = tmp_path / "deep" / "t.parquet"
    metadata = {"layer": 6, "name": "é", "nothing": None, "flag": True}
    write_parquet(path, TABLE.replace_schema_metadata(schema_metadata(metadata)))
    assert read_parquet(path).to_pylist() == TABLE.to_pylist()
    assert read_parquet(path, ["b", "a"]).column_names == ["b", "a"]
    with open_parquet(path) as file:
        assert metadata_of(file.schema_arrow) == {"layer": "6", "name": "é", "flag": "true"}
    assert metadata_of(TABLE.schema) == {}


def test_a_missing_column_is_named(tmp_path):
    write_parquet(tmp_path / "t.parquet", TABLE)
    with pytest.raises(ArtefactError, match=r"t\.parquet: expected column 'c', found a, b"):
        read_parquet(tmp_path / "t.parquet", ["a", "c"])


def test_a_damaged_file_is_named(tmp_path):
    write_parquet(tmp_path / "t.parquet", TABLE)
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[:-20])
    for name in ("t.parquet", "absent.parquet"):
        with pytest.raises(ArtefactError, match=rf"{name}: not a readable Parquet file"):
            read_parquet(tmp_path / name)
