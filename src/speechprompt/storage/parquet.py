"""Compressed Parquet files, written atomically, with metadata as text and a seal."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speechprompt.errors import ArtefactError
from speechprompt.storage.files import atomic_path
from speechprompt.storage.seals import UNSEALED, DamageError, GradualCheck, is_sealed, seal

__all__ = [
    "checked_meanwhile",
    "metadata_of",
    "open_parquet",
    "parquet_writer",
    "read_parquet",
    "read_schema",
    "schema_metadata",
    "write_parquet",
]


_CHECKED_MEANWHILE: dict[str, GradualCheck] = {}


def write_parquet(path: str | Path, table: pa.Table) -> None:
    """Write an Arrow table atomically as zstd-compressed Parquet."""
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table)


@contextmanager
def parquet_writer(
    path: str | Path, schema: pa.Schema, *, compression: str = "zstd", use_dictionary: bool = True
) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file table by table; it appears when all are written."""
    with atomic_path(path) as temporary:
        options = {"compression": compression, "use_dictionary": use_dictionary}
        with pq.ParquetWriter(temporary, schema, **options) as writer:
            yield writer
        _insert_seal(temporary)


def _insert_seal(path: Path) -> None:
    """Seal a Parquet file in front of its footer, where readers skip what no column refers to.

    In the metadata, programs that change the table would carry the seal over to another file.
    """
    with path.open("r+b") as stream:
        stream.seek(-8, os.SEEK_END)
        length = int.from_bytes(stream.read(4), "little")
        start = stream.seek(-8 - length, os.SEEK_END)
        footer = stream.read()
        stream.seek(start)
        stream.write(UNSEALED.encode() + footer)
    seal(path)


@contextmanager
def checked_meanwhile(*paths: str | Path) -> Iterator[Callable[[], None]]:
    """Check long files by their seals while they are read, which takes hardly any time.

    Each file has one reader at a time.

    Yields:
        A function to call before anything is made of what was read: it ends the check.

    Raises:
        ArtefactError: a file is damaged, whatever error that led to before.
    """
    checks: dict[str, GradualCheck] = {}

    def finish() -> None:
        for path, check in checks.items():
            with _named(path):
                check.finish()

    try:
        for path in map(str, paths):
            with _named(path):
                checks[path] = GradualCheck(path)
        _CHECKED_MEANWHILE.update(checks)
        yield finish
    finally:
        for path in checks:
            _CHECKED_MEANWHILE.pop(path, None)
        try:
            finish()
        finally:
            for check in checks.values():
                check.stream.close()


class _CheckedSource:
    """A file for Arrow that is checked while Arrow reads it."""

    closed = False

    def __init__(self, check: GradualCheck) -> None:
        self._check = check
        self.seek, self.tell = check.stream.seek, check.stream.tell

    def read(self, n_bytes: int) -> bytes:
        return self.read_buffer(n_bytes).to_pybytes()

    def read_buffer(self, n_bytes: int) -> pa.Buffer:
        """Read into memory of Arrow, which it uses again, unlike that of new ``bytes``."""
        start = self.tell()
        buffer = pa.allocate_buffer(n_bytes, resizable=True)
        with memoryview(buffer).cast("B") as content:
            n_read = self._check.stream.readinto(content)
            self._check.add(start, content[:n_read])
        buffer.resize(n_read)
        return buffer

    def close(self) -> None:
        """Stay open for the next reader."""


@contextmanager
def open_parquet(path: str | Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file for reading.

    Raises:
        ArtefactError: the file is missing or damaged, even if only a later read shows that.
    """
    with _named(path):
        check = _CHECKED_MEANWHILE.get(str(path))
        if check is None:
            is_sealed(path)
        source = path if check is None else pa.PythonFile(_CheckedSource(check), mode="r")
        with pq.ParquetFile(source) as file:
            yield file


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Let an error of reading name the file."""
    try:
        yield
    except (OSError, pa.ArrowException, DamageError) as error:
        raise ArtefactError(f"{path}: not a readable Parquet file ({error})") from error


def read_schema(path: str | Path) -> pa.Schema:
    """Read the schema of a Parquet file.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    with open_parquet(path) as file:
        return file.schema_arrow


def read_parquet(path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a whole Parquet file, or some of its columns in the given order.

    Raises:
        ArtefactError: the file is missing or damaged, or has no such column.
    """
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        if missing := [name for name in columns or () if name not in names]:
            raise ArtefactError(f"{path}: expected column {missing[0]!r}, found {', '.join(names)}")
        table = file.read(columns=columns)
        return table.select(columns) if columns else table


def schema_metadata(values: Mapping[str, Any]) -> dict[str, str]:
    """Metadata for a schema: strings as they are, other values as JSON, without those of None."""
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }


def metadata_of(schema: pa.Schema) -> dict[str, str]:
    """The metadata of a schema as text."""
    pairs = (schema.metadata or {}).items()
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in pairs}
