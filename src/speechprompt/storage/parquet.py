"""Compressed Parquet files, written atomically, with metadata as text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speechprompt.errors import ArtefactError
from speechprompt.storage.files import atomic_path

__all__ = [
    "metadata_of",
    "open_parquet",
    "read_parquet",
    "read_schema",
    "schema_metadata",
    "write_parquet",
]


def write_parquet(path: str | Path, table: pa.Table) -> None:
    """Write an Arrow table atomically as zstd-compressed Parquet."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


@contextmanager
def open_parquet(path: str | Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file for reading.

    Raises:
        ArtefactError: the file is missing or damaged, even if only a later read shows that.
    """
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
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
