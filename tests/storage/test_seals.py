"""A changed bit is found wherever it is; files without a hash are read as before."""

import json
import os
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from speechprompt.errors import ArtefactError
from speechprompt.storage import hashes, seals
from speechprompt.storage.files import (
    check_intact,
    copy_file,
    read_json,
    sha256_artefact,
    write_json,
)
from speechprompt.storage.parquet import (
    checked_meanwhile,
    open_parquet,
    parquet_writer,
    read_parquet,
    read_schema,
    write_parquet,
)
from speechprompt.storage.tensors import read_tensor_metadata, read_tensors, write_tensors

TABLE = pa.table({"a": [1, 2], "b": ["x", None]}).replace_schema_metadata({"root": "here"})
TENSORS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
WRITE = {
    ".parquet": lambda path: write_parquet(path, TABLE),
    ".safetensors": lambda path: write_tensors(path, TENSORS, {"layer": 6}),
    ".json": lambda path: write_json(path, {"value": 0.5, "name": "é"}),
}
READ = [
    (".parquet", read_parquet),
    (".parquet", read_schema),
    (".safetensors", read_tensors),
    (".safetensors", read_tensor_metadata),
    (".json", read_json),
]


def flip(path, content, place, bit):
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    path.write_bytes(changed)


@pytest.mark.parametrize(("ending", "read"), READ)
def test_every_byte_is_covered(tmp_path, ending, read):
    path = tmp_path / f"whole{ending}"
    WRITE[ending](path)
    content = path.read_bytes()
    read(path)
    for place in range(len(content)):
        flip(path, content, place, place % 8)
        with pytest.raises(ArtefactError, match=r"whole\."):
            read(path)
    path.write_bytes(content)
    read(path)


@pytest.mark.parametrize("ending", WRITE)
def test_what_is_added_cut_or_cleared_is_found(tmp_path, ending):
    path = tmp_path / f"whole{ending}"
    WRITE[ending](path)
    content = path.read_bytes()
    read = dict(READ)[ending]
    middle = len(content) // 2
    cleared = content[:middle] + bytes(16) + content[middle + 16 :]
    for changed in (content + b" ", content[:-1], content[:middle], b"", cleared):
        path.write_bytes(changed)
        with pytest.raises(ArtefactError, match=r"whole\."):
            read(path)


@pytest.mark.parametrize("ending", WRITE)
def test_equal_content_gives_equal_bytes_and_no_copy_of_damage(tmp_path, ending):
    paths = [tmp_path / f"{name}{ending}" for name in "ab"]
    for path in paths:
        WRITE[ending](path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert check_intact(paths[0])
    copy_file(paths[0], paths[1])
    flip(paths[0], paths[0].read_bytes(), 20, 3)
    with pytest.raises(ArtefactError, match=f"a{ending}: cannot be used .*has changed since"):
        copy_file(paths[0], paths[1])
    assert check_intact(paths[1])
    with pytest.raises(ArtefactError, match=f"a{ending}"):
        sha256_artefact(paths[0])


def test_files_of_other_programs_have_no_hash_and_are_read(tmp_path):
    table, tensors, text = (tmp_path / name for name in ("t.parquet", "t.safetensors", "t.json"))
    pq.write_table(TABLE, table)
    save_file(TENSORS, tensors, {"layer": "6"})
    text.write_text('{"seal": 1}')
    assert read_parquet(table) == TABLE
    assert read_tensors(tensors)[1] == {"layer": 6}
    assert read_json(text) == {"seal": 1}
    assert not any(map(check_intact, (table, tensors, text)))
    # Changed and written by another program, a table is not taken for a damaged one.
    write_parquet(table, TABLE)
    pq.write_table(pq.read_table(table).slice(1), table)
    assert len(read_parquet(table)) == 1
    with pytest.raises(ArtefactError, match="absent"):
        check_intact(tmp_path / "absent")


def test_other_programs_read_sealed_files(tmp_path):
    for ending, write in WRITE.items():
        write(tmp_path / f"a{ending}")
    assert pq.read_table(tmp_path / "a.parquet").equals(TABLE, check_metadata=True)
    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert list(found) == ["value", "name", "seal"]


def test_seals_of_sha256_are_checked_as_before(tmp_path):
    path = tmp_path / "earlier.json"
    text = '{"value": 0.5, "seal": "sha256 of this file with 64 zeros here: %s (end of seal)"}'
    unsealed = (text % ("0" * 64)).encode()
    content = (text % sha256(unsealed).hexdigest()).encode()
    path.write_bytes(content)
    assert read_json(path) == {"value": 0.5}
    for place in range(len(content)):
        flip(path, content, place, place % 8)
        with pytest.raises(ArtefactError, match="earlier"):
            read_json(path)


def write_groups(path, n_groups=6, length=100_000):
    numbers = np.random.default_rng(0).integers(2**60, size=(n_groups, length))
    schema = pa.schema({"a": pa.int64(), "b": pa.int64()})
    with parquet_writer(path, schema, compression="none", use_dictionary=False) as writer:
        for group in numbers:
            writer.write_table(pa.table({"a": group, "b": group[::-1]}, schema))
    return n_groups


ORDERS = {"all": range, "backwards": lambda n: range(n)[::-1], "some": lambda n: [1, n - 2]}


@pytest.mark.parametrize("order", ORDERS)
def test_a_file_that_is_checked_meanwhile_is_covered_whatever_is_read(tmp_path, order):
    path = tmp_path / "groups.parquet"
    groups = ORDERS[order](write_groups(path))

    def read_meanwhile():
        with checked_meanwhile(path) as wait:
            with open_parquet(path) as file:
                tables = [file.read_row_group(group, ["a"]) for group in groups]
            with open_parquet(path) as file:
                tables += [file.read_row_group(group) for group in groups]
            wait()
        return tables

    expected = pq.ParquetFile(path)
    assert read_meanwhile()[-1] == expected.read_row_group(groups[-1])
    content = path.read_bytes()
    places = np.random.default_rng(1).integers(len(content), size=30)
    for place in [0, 3, 4, len(content) - 1, len(content) - 5, len(content) - 300, *places]:
        flip(path, content, place, place % 8)
        with pytest.raises(ArtefactError, match=r"groups\.parquet"):
            read_meanwhile()


def test_a_file_that_is_checked_meanwhile_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "groups.parquet"
    n_groups = write_groups(path)
    again = []
    read = seals._read

    def counted(*args):
        for part in read(*args):
            again.append(len(part))
            yield part

    monkeypatch.setattr(seals, "_read", counted)
    with checked_meanwhile(path) as wait:
        with open_parquet(path) as file:
            for group in range(n_groups):
                file.read_row_group(group)
        wait()
    assert sum(again) < path.stat().st_size / 100


def test_the_footer_of_a_long_parquet_file_may_be_longer_than_what_is_searched(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(seals, "EDGE", 128)
    path = tmp_path / "long.parquet"
    with parquet_writer(path, TABLE.schema) as writer:
        for _ in range(50):
            writer.write_table(TABLE)
    assert check_intact(path)
    flip(path, path.read_bytes(), 1000, 0)
    with pytest.raises(ArtefactError):
        check_intact(path)


def test_headers_and_json_may_be_long(tmp_path):
    long = [f"label {number}" for number in range(200_000)]
    paths = tmp_path / "long.safetensors", tmp_path / "long.json"
    write_tensors(paths[0], {"0": np.zeros(500_000)}, {"answers": long})
    write_json(paths[1], {"answers": long})
    for path in paths:
        assert check_intact(path)
        flip(path, path.read_bytes(), 1_500_000, 1)
        with pytest.raises(ArtefactError):
            check_intact(path)


def test_a_file_that_was_checked_is_checked_again_when_it_changes(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    hashed = []
    digits = seals._digits
    monkeypatch.setattr(seals, "_digits", lambda *a: (hashed.append(1), digits(*a))[1])
    assert check_intact(path)
    assert check_intact(path)
    assert len(hashed) == 2  # it may still be written within one tick of the clock
    monkeypatch.setattr(hashes, "SETTLED_NS", -(10**12))
    assert check_intact(path)
    assert check_intact(path)
    assert len(hashed) == 3
    before = hashes.sha256_file(path)
    assert hashes.sha256_file(path) == before == sha256(path.read_bytes()).hexdigest()
    flip(path, path.read_bytes(), 6, 0)
    os.utime(path)
    with pytest.raises(ArtefactError):
        check_intact(path)
    assert hashes.sha256_file(path) == sha256(path.read_bytes()).hexdigest()
