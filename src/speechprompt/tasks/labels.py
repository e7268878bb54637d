"""Task types: what an answer is, and how it becomes label indices.

A type is a class with ``columns``, ``names``, ``allowed``, ``references``, ``encode``, ``decode``,
and ``state``, named in one line of ``TYPES``. ``state`` has the arguments of the class.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from speechprompt.errors import ConfigError, CorpusError, some_of
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.examples import Examples
from speechprompt.tasks.sequences import SlotFilling, Transcription
from speechprompt.units.unit_files import read_renditions, read_units

__all__ = [
    "Labels",
    "define_labels",
    "encode_references",
    "read_examples",
    "read_labels",
    "restore_labels",
]

Labels = Classification | Transcription
TYPES = {kind.type: kind for kind in (Classification, Transcription, SlotFilling)}


def read_labels(index: str | Path, task_type: str, columns: Sequence[str]) -> Labels:
    """The labels that the units file of a train split defines; see :func:`define_labels`."""
    return define_labels(read_units(index), task_type, columns, str(index))


def define_labels(
    table: pa.Table, task_type: str, columns: Sequence[str], origin: str | Path
) -> Labels:
    """The labels that the rows of a train split define.

    Args:
        table: ``utt_id`` and the label columns.
        task_type: classification, transcription or slot_filling.
        columns: the label columns.
        origin: the table's file, for messages.

    Raises:
        ConfigError: no such task type.
        CorpusError: a label column is missing or cannot be used.
    """
    if task_type not in TYPES:
        raise ConfigError(f"type: expected one of {', '.join(TYPES)}, found {task_type!r}")
    return TYPES[task_type].from_train(table, columns, str(origin))


def restore_labels(state: Mapping[str, Any]) -> Labels:
    """The labels that a prompt file describes."""
    arguments = {name: _tuples(value) for name, value in state.items() if name != "type"}
    labels = TYPES[state["type"]](**arguments)
    if wrong := [name for name in labels.names if not isinstance(name, str)]:
        raise TypeError(f"expected the text of a label, found {wrong[0]!r}")
    return labels


def read_examples(index: str | Path, labels: Labels, *, encode: bool = True) -> Examples:
    """Read a split's units and references.

    Args:
        index: the split's index.json.
        labels: labels of the task.
        encode: whether label indices are wanted, as for train and dev.

    Raises:
        CorpusError: a label column is missing, or has a label that train never had.
    """
    table = read_units(index)
    utt_ids = table["utt_id"].to_pylist()
    references = labels.references(table, str(index))
    return Examples(
        utt_ids=utt_ids,
        units=[np.asarray(row, dtype=np.int64) for row in table["units"].to_pylist()],
        labels=encode_references(labels, utt_ids, references, index) if encode else [],
        references=references,
        speakers=table["speaker"].to_pylist(),
        renditions=read_renditions(table),
    )


def encode_references(
    labels: Labels, utt_ids: Sequence[str], references: Sequence[str], origin: str | Path
) -> list[list[int]]:
    """Label indices of references.

    Raises:
        CorpusError: a reference has a symbol that train never had; ``origin`` names the file.
    """
    encoded = []
    for utt_id, reference in zip(utt_ids, references, strict=True):
        try:
            encoded.append(labels.encode(reference))
        except ValueError:
            unknown = some_of(labels.unknown(reference))
            raise CorpusError(
                f"{origin}: utterance {utt_id!r}: {reference!r} has a symbol that train never had: "
                f"{unknown}; train has: {' '.join(labels.names)}; leave it out, or have it in "
                "train too"
            ) from None
    return encoded


def _tuples(value: Any) -> Any:
    """Turn the lists of a JSON value into tuples; all that they hold is text."""
    if isinstance(value, list | tuple):
        return tuple(map(_tuples, value))
    if not isinstance(value, str):
        raise TypeError(f"expected the text of a label, found {value!r}")
    return value
