"""Validation of a corpus's manifests: their schema, distinct utterances, existing recordings."""

import posixpath
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from speechprompt.audio.places import Place
from speechprompt.corpora.manifest import SPLITS, manifest_schema, read_root
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.runtime.progress import log
from speechprompt.storage.parquet import read_parquet

__all__ = ["validate_corpus"]


def validate_corpus(
    manifest_dir: str | Path, *, label_columns: Sequence[str] = ()
) -> dict[str, int]:
    """Check the manifests of one corpus.

    Args:
        manifest_dir: Folder of ``{train,valid,test}.parquet``.
        label_columns: Labels that a task needs; the manifests may have more.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: a manifest is missing, is empty or has another schema, a label is missing, an
            utterance or a path occurs twice, also in different splits, or a recording is missing.
    """
    paths = {split: Path(manifest_dir, f"{split}.parquet") for split in SPLITS}
    tables = {split: _read_manifest(path, label_columns) for split, path in paths.items()}
    for column in ("utt_id", "path"):
        _check_distinct(manifest_dir, tables, column)
    for split, table in tables.items():
        root = read_root(paths[split])
        for path in table["path"].to_pylist():
            file = Place.at(root / path).file
            if not Path(file).is_file():
                raise CorpusError(
                    f"{paths[split]}: expected the file {file}, "
                    "which is not there; restore it or prepare the corpus again"
                )
    counts = {split: len(table) for split, table in tables.items()}
    log(", ".join(f"{split}: {count}" for split, count in counts.items()))
    return counts


def _read_manifest(path: Path, label_columns: Sequence[str]) -> pa.Table:
    try:
        table = read_parquet(path)
    except ArtefactError as error:
        raise CorpusError(f"{path}: not a readable manifest ({error})") from error
    fixed = manifest_schema(())
    labels = table.schema.names[len(fixed) :]
    if not table.schema.equals(manifest_schema(labels)):
        raise CorpusError(
            f"{path}: expected the columns {_describe(fixed)} and text labels, "
            f"found {_describe(table.schema)}"
        )
    if missing := [name for name in label_columns if name not in labels]:
        raise CorpusError(
            f"{path}: expected the label columns {', '.join(label_columns)}, "
            f"without {', '.join(missing)}; found {', '.join(labels) or 'none'}"
        )
    if not len(table):
        raise CorpusError(f"{path}: expected utterances, found none")
    needed = {*fixed.names, *label_columns} - {"speaker"}
    for name in table.column_names:
        bad = [row for row, value in enumerate(table[name].to_pylist()) if not value]
        if bad and name in needed:
            raise CorpusError(f"{path}: column {name!r} is empty or 0 in row {bad[0]}")
    for value in table["path"].to_pylist():
        if posixpath.normpath(value) != value:
            raise CorpusError(f"{path}: expected a normalised path, found {value!r}")
    return table


def _check_distinct(manifest_dir: str | Path, tables: dict[str, pa.Table], column: str) -> None:
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
