"""Units files: Parquet shards of units with their labels, and the index of a split."""

import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.runtime.progress import log
from speechprompt.storage.files import read_json, write_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.parquet import (
    metadata_of,
    read_parquet,
    read_schema,
    schema_metadata,
    write_parquet,
)

__all__ = [
    "UnitsMetadata",
    "gather_units",
    "read_column",
    "read_renditions",
    "read_units",
    "take_units",
    "units_schema",
    "write_units",
]

UNITS_COLUMNS = {
    "utt_id": pa.string(),
    "path": pa.string(),
    "units": pa.list_(pa.int16()),
    "renditions": pa.list_(pa.list_(pa.int16())),
    "durations": pa.list_(pa.int16()),
    "n_frames": pa.int32(),
    "speaker": pa.string(),
}


@dataclass(frozen=True)
class UnitsMetadata:
    """Schema metadata of a units file; None is what is unknown of an external codebook.

    ``speeds`` are those of the renditions, None where there are none.
    """

    codebook: str
    codebook_sha256: str
    n_units: int
    dedup: bool
    encoder: str | None = None
    layer: int | None = None
    frame_rate: float | None = None
    speeds: list[float] | None = None


def units_schema(label_columns: Sequence[str], metadata: UnitsMetadata) -> pa.Schema:
    """The columns of a units file: the fixed ones, then the labels.

    ``renditions``, the units at each of the speeds, is there where there are speeds.
    """
    columns = UNITS_COLUMNS | {name: pa.string() for name in label_columns}
    if not metadata.speeds:
        del columns["renditions"]
    return pa.schema(columns, metadata=schema_metadata(asdict(metadata)))


def write_units(
    out: str | Path,
    columns: Mapping[str, Sequence[Any]],
    *,
    label_columns: Sequence[str],
    metadata: UnitsMetadata,
) -> None:
    """Write a units file of utterances that are quantised already.

    Args:
        out: The units file.
        columns: ``utt_id``, ``units`` and the label columns. If ``path``, ``durations``,
            ``n_frames`` or ``speaker`` is not given, it is null.
        label_columns: Names of the labels, in order.
        metadata: The codebook and the origin of the units.

    Raises:
        CorpusError: a unit is not one of 0 … ``n_units - 1``.
    """
    for utt_id, units in zip(columns["utt_id"], columns["units"], strict=True):
        if len(units) and not 0 <= min(units) <= max(units) < metadata.n_units:
            raise CorpusError(
                f"utterance {utt_id!r}: expected units 0 to {metadata.n_units - 1} of codebook "
                f"{metadata.codebook!r}, found {min(units)} to {max(units)}"
            )
    schema = units_schema(label_columns, metadata)
    nulls = pa.nulls(len(columns["utt_id"]))
    unknown = dict.fromkeys(("path", "durations", "n_frames", "speaker"), nulls)
    write_parquet(out, pa.table({**unknown, **columns}, schema))


def gather_units(
    parts: Sequence[str | Path],
    out: str | Path,
    *,
    corpus: str,
    split: str,
    manifest_path: str | Path | None = None,
    train: str | Path | None = None,
    max_repeated: float = 1.0,
) -> dict[str, Any]:
    """Check that the parts of a split belong together, and list them with their hashes.

    A warning counts the utterances whose units are those of an utterance of train.

    Args:
        parts: Units files in order, in the folder of ``out``.
        out: The split's index.json.
        corpus: Name of the corpus.
        split: Name of the split.
        manifest_path: Manifest of the split; the parts must have its utterances in its order.
        train: index.json of the train split of the same corpus and codebook.
        max_repeated: Largest share of the utterances whose units may be those of an utterance of
            train, 0 to 1.

    Returns:
        The index as written.

    Raises:
        ArtefactError: parts have different codebooks or columns, an utterance occurs twice, or the
            utterances are not those of the manifest.
        CorpusError: more than ``max_repeated`` of the utterances have units of train.
    """
    if not parts:
        raise ArtefactError(f"{out}: expected units files to list, found none")
    schema = read_schema(parts[0])
    entries: list[dict[str, Any]] = []
    utt_ids: list[str] = []
    for part in map(Path, parts):
        if part.parent.resolve() != Path(out).parent.resolve():
            raise ArtefactError(f"{part}: expected a file beside {out}")
        if not read_schema(part).equals(schema, check_metadata=True):
            raise ArtefactError(
                f"{part}: expected columns, codebook and metadata of {parts[0]}, found others; "
                "quantise all parts of the split again"
            )
        found = read_parquet(part, ["utt_id"])["utt_id"].to_pylist()
        entries.append({"name": part.name, "sha256": sha256_file(part), "n_utterances": len(found)})
        utt_ids += found
    counts = Counter(utt_ids)
    if repeated := [utt_id for utt_id, count in counts.items() if count > 1]:
        raise ArtefactError(f"{out}: expected each utterance once, found {repeated[0]!r} twice")
    if manifest_path is not None:
        expected = read_parquet(manifest_path, ["utt_id"])["utt_id"].to_pylist()
        if expected != utt_ids:
            raise ArtefactError(
                f"{out}: expected the {len(expected)} utterances of {manifest_path} in its order, "
                f"found {len(utt_ids)} that differ; quantise all parts of the split again"
            )
    if train is not None:
        _judge_repeats(parts, train, f"{corpus}, {split}", max_repeated)
    metadata = metadata_of(schema)
    index = {
        "codebook": metadata["codebook"],
        "codebook_sha256": metadata["codebook_sha256"],
        "n_units": int(metadata["n_units"]),
        "corpus": corpus,
        "split": split,
        "label_columns": [name for name in schema.names if name not in UNITS_COLUMNS],
        "n_utterances": len(utt_ids),
        "parts": entries,
    }
    write_json(out, index)
    return index


def take_units(indexes: Sequence[str | Path], manifest_path: str | Path, out: str | Path) -> int:
    """Write the units of a manifest's utterances, which other splits of the same recordings have.

    Args:
        indexes: index.json of those splits.
        manifest_path: Manifest of the utterances.
        out: The units file.

    Returns:
        Number of utterances.

    Raises:
        ArtefactError: the splits have different codebooks, or lack an utterance.
    """
    tables = [read_units(index) for index in indexes]
    for split, index in zip(tables, indexes, strict=True):
        if not split.schema.equals(tables[0].schema, check_metadata=True):
            raise ArtefactError(
                f"{index}: expected columns, codebook and metadata of {indexes[0]}, found others; "
                "quantise all splits again"
            )
    table = pa.concat_tables(tables)
    wanted = read_parquet(manifest_path, ["utt_id"])["utt_id"]
    rows = pc.index_in(wanted, table["utt_id"].combine_chunks())
    if rows.null_count:
        lacking = wanted.filter(pc.is_null(rows))[0].as_py()
        raise ArtefactError(
            f"{manifest_path}: the units of {lacking!r} are not in {indexes[0]} or the other "
            "splits; quantise all splits again"
        )
    write_parquet(out, table.take(rows))
    return len(wanted)


def _judge_repeats(parts: Sequence[str | Path], train: str | Path, split: str, most: float) -> None:
    """Report the utterances whose units occur in train; too many are an error."""
    known = set(_unit_strings(read_units(train, ["units"])))
    found = [
        units in known for part in parts for units in _unit_strings(read_parquet(part, ["units"]))
    ]
    if n_repeated := sum(found):
        message = (
            f"{split}: {n_repeated} of {len(found)} utterances have the same units as one of train"
        )
        if n_repeated > most * len(found):
            raise CorpusError(f"{message}, more than max_repeated = {most:g} allows")
        log(f"warning: {message}; there is a score of the others too")


def _unit_strings(table: pa.Table) -> Iterator[bytes]:
    """The units of each utterance as bytes, the same for the same units."""
    for chunk in table["units"].chunks:
        values, offsets = chunk.values.to_numpy(), chunk.offsets.to_numpy()
        yield from (values[i:j].tobytes() for i, j in itertools.pairwise(offsets))


def read_units(index_path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a split: the parts that its index lists, in order.

    Args:
        index_path: The split's index.json.
        columns: Columns to read, in that order; None reads all.

    Raises:
        ArtefactError: a part is missing or has changed, or there is no such column.
    """
    index = read_json(index_path)
    try:
        parts = [(Path(index_path).parent / p["name"], p["sha256"]) for p in index["parts"]]
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"{index_path}: expected an index of units ({error})") from error
    tables = []
    for path, expected in parts:
        if not path.is_file():
            raise ArtefactError(f"{path}: listed in {index_path}, but missing; quantise it again")
        if (found := sha256_file(path)) != expected:
            raise ArtefactError(
                f"{path}: expected sha256 {expected} as in {index_path}, found {found}; the file "
                "was replaced, gather the split again"
            )
        tables.append(read_parquet(path, columns))
    return pa.concat_tables(tables)


def read_renditions(table: pa.Table) -> list[list[np.ndarray]]:
    """Units, int64, of the renditions of each utterance; empty where the corpus has no speeds."""
    rows = table["renditions"].to_pylist() if "renditions" in table.column_names else []
    return [[np.asarray(units, dtype=np.int64) for units in played] for played in rows]


def read_column(table: pa.Table, column: str, origin: str) -> list[str | None]:
    """The values of a label column of a units file or manifest, in Unicode's form NFC.

    Raises:
        CorpusError: there is no such column; ``origin`` names the file.
    """
    if column not in table.column_names:
        known = ", ".join(table.column_names)
        raise CorpusError(f"{origin}: no label column {column!r}; columns: {known}")
    values = table[column].to_pylist()
    return [value and unicodedata.normalize("NFC", value) for value in values]
