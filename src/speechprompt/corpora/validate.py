"""The check of a corpus's manifests: form, identity, disjoint splits, files in place."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from speechprompt.corpora.manifest import SPLITS, manifest_schema, read_root
from speechprompt.errors import CorpusError

__all__ = ["validate"]


def validate(manifest_dir: str | Path, *, label_columns: Sequence[str] = ()) -> dict[str, int]:
    """Check the manifests of one corpus.

    Args:
        manifest_dir: Folder of ``{train,valid,test}.parquet``.
        label_columns: Labels that a task needs; others may be there too.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: a manifest is missing, empty or of another form, a label is missing, an
            utterance or a path occurs twice in or across splits, or a file is not there.
    """
    manifest_dir = Path(manifest_dir)
    tables = {split: _read(manifest_dir / f"{split}.parquet") for split in SPLITS}
    for split, table in tables.items():
        _check_form(manifest_dir / f"{split}.parquet", table, label_columns)
    for column in ("utt_id", "path"):
        _check_distinct(manifest_dir, tables, column)
    for split, table in tables.items():
        root = read_root(manifest_dir / f"{split}.parquet")
        for path in table["path"].to_pylist():
            if not (root / path).is_file():
                raise CorpusError(
                    f"{manifest_dir / split}.parquet: expected the file {root / path}, "
                    "which is not there; restore it or prepare the corpus again"
                )
    return {split: len(table) for split, table in tables.items()}


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{path}: not a readable manifest ({error})") from error


def _check_form(path: Path, table: pa.Table, label_columns: Sequence[str]) -> None:
    n_fixed = len(manifest_schema(()))
    found = table.schema.names
    expected = manifest_schema(found[n_fixed:])
    if not table.schema.equals(expected):
        raise CorpusError(
            f"{path}: expected the columns {_describe(manifest_schema(()))} and text labels, "
            f"found {_describe(table.schema)}"
        )
    if missing := [name for name in label_columns if name not in found[n_fixed:]]:
        raise CorpusError(
            f"{path}: expected the label columns {', '.join(label_columns)}, "
            f"without {', '.join(missing)}; found {', '.join(found[n_fixed:]) or 'none'}"
        )
    if not len(table):
        raise CorpusError(f"{path}: expected utterances, found none")
    for name in expected.names:
        column = table[name].to_pylist()
        bad = [row for row, value in enumerate(column) if value in ("", 0, None)]
        if bad and name != "speaker":
            raise CorpusError(f"{path}: column {name!r} is empty or 0 in row {bad[0]}")
    for value in table["path"].to_pylist():
        if posixpath.normpath(value) != value:
            raise CorpusError(f"{path}: expected a normalised path, found {value!r}")


def _check_distinct(manifest_dir: Path, tables: dict[str, pa.Table], column: str) -> None:
    first: dict[str, str] = {}
    for split, table in tables.items():
        for value in table[column].to_pylist():
            if value in first:
                raise CorpusError(
                    f"{manifest_dir}: {column} {value!r} occurs in {first[value]!r} and "
                    f"again in {split!r}"
                )
            first[value] = split


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
