"""Predictions files: a row for every utterance of the scored splits, with what metrics sum."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.metrics import count_errors, encode_classes
from speechprompt.storage.parquet import read_parquet, write_parquet

__all__ = [
    "about_predictions",
    "check_same_utterances",
    "counts",
    "read_predictions",
    "shared_with_train",
    "split_rows",
    "write_predictions",
]


def write_predictions(
    path: str | Path,
    splits: Mapping[str, Mapping[str, Sequence[Any]]],
    *,
    task_type: str,
    columns: Sequence[str],
    method: str,
    speakers: Mapping[str, Any] | None = None,
) -> None:
    """Write a predictions file.

    Args:
        path: Parquet file to write.
        splits: columns of each split: ``utt_id``, ``reference``, ``prediction``, ``score``
            (log-probability of the prediction), ``is_repeat``, ``invalid`` where free decoding was
            tried, ``in_train`` where train is known, and ``speaker`` where the corpus has speakers.
        task_type: classification, transcription or slot_filling.
        columns: the label columns.
        method: name of the method or baseline that made the predictions.
        speakers: what each split's speakers have in common with those of train.

    Raises:
        ArtefactError: the score of an answer is no number.
    """
    tables = []
    for split, data in splits.items():
        _check_numbers(path, data)
        given = {
            "utt_id": pa.array(data["utt_id"], pa.string()),
            "split": pa.array([split] * len(data["utt_id"]), pa.string()),
            "reference": pa.array(data["reference"], pa.string()),
            "prediction": pa.array(data["prediction"], pa.string()),
            "score": pa.array(np.asarray(data["score"], np.float64)),
            "is_repeat": pa.array(data["is_repeat"], pa.bool_()),
        }
        if "invalid" in data:
            given["invalid"] = pa.array(np.asarray(data["invalid"]).astype(np.int64))
        if "in_train" in data:
            given["in_train"] = pa.array(data["in_train"], pa.bool_())
        if any("speaker" in columns_of for columns_of in splits.values()):
            unknown = [None] * len(data["utt_id"])
            given["speaker"] = pa.array(data.get("speaker", unknown), pa.string())
        counted = count_errors(task_type, columns, data["reference"], data["prediction"])
        tables.append(pa.table({**given, **counted}))
    about: dict[str, Any] = {"type": task_type, "columns": list(columns), "method": method}
    if speakers:
        about["speakers"] = dict(speakers)
    table = pa.concat_tables(tables)
    write_parquet(path, table.replace_schema_metadata({"speechprompt": json.dumps(about)}))


def _check_numbers(path: str | Path, data: Mapping[str, Sequence[Any]]) -> None:
    wrong = np.flatnonzero(np.isnan(np.asarray(data["score"], np.float64)))
    if len(wrong):
        raise ArtefactError(
            f"{path}: the score of utterance {data['utt_id'][wrong[0]]!r} is no number, nor are "
            f"{len(wrong) - 1} more; the model that answered has numbers that are not finite, "
            "train it again"
        )


def read_predictions(path: str | Path, split: str | None = None) -> pa.Table:
    """Read one split of a predictions file, by default the last, which is the main one.

    Raises:
        ArtefactError: these are no predictions, or the file has no such split.
    """
    table = read_parquet(path)
    if not {"utt_id", "split", "prediction"} <= {*table.column_names} or not table.num_rows:
        found = ", ".join(table.column_names[:5])
        raise ArtefactError(f"{path}: expected predictions, found a table of {found}")
    if b"speechprompt" not in (table.schema.metadata or {}):
        raise ArtefactError(
            f"{path}: expected predictions with the metadata that tell their task; another program "
            "has written them again without"
        )
    wanted = split or table["split"][-1].as_py()
    table = table.filter(pc.equal(table["split"], wanted))
    if not table.num_rows:
        raise ArtefactError(f"{path}: no rows of split {wanted!r}")
    return table


def about_predictions(table: pa.Table) -> dict[str, Any]:
    """Task type, label columns and method of a predictions file."""
    return json.loads((table.schema.metadata or {})[b"speechprompt"])


def counts(
    tables: Sequence[pa.Table], rows: np.ndarray | slice = slice(None)
) -> dict[str, np.ndarray]:
    """What metrics read of the predictions of one or several seeds, ``[seeds, n]`` each.

    These are the numeric columns, and for a classification the numbers of the classes.
    """
    schema, about = tables[0].schema, about_predictions(tables[0])
    names = [f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    found = {name: np.stack([table[name].to_numpy()[rows] for table in tables]) for name in names}
    if about["type"] == "classification":
        texts = ("reference", "prediction")
        classes = [
            encode_classes(about["columns"], *(table[name].to_pylist() for name in texts))
            for table in tables
        ]
        found |= {name: np.stack([seed[name][rows] for seed in classes]) for name in classes[0]}
    return found


def split_rows(table: pa.Table) -> dict[str, np.ndarray]:
    """The rows of each split, as masks ``[n]``, in the order in which the splits appear."""
    split_of = np.array(table["split"].to_pylist())
    return {str(split): split_of == split for split in dict.fromkeys(split_of.tolist())}


def shared_with_train(tables: Sequence[pa.Table]) -> tuple[np.ndarray, dict[str, Any]]:
    """Which utterances have units that occur in train, ``[n]``, and the speakers that train has.

    A baseline's predictions say so; those of other methods for the same utterances do not.
    """
    heard = np.zeros(len(tables[0]), dtype=bool)
    speakers: dict[str, Any] = {}
    for table in tables:
        if "in_train" in table.column_names:
            heard |= table["in_train"].to_numpy()
        speakers |= about_predictions(table).get("speakers", {})
    return heard, speakers


def check_same_utterances(first: pa.Table, other: pa.Table) -> None:
    """Refuse to compare predictions of different utterances.

    Raises:
        ArtefactError: the utterances or their order differ.
    """
    if other["utt_id"] != first["utt_id"] or other["split"] != first["split"]:
        raise ArtefactError("predictions that are compared hold different utterances")
