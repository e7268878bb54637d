"""Task types: what an answer is, and how it becomes label indices.

A type is a class with ``columns``, ``names``, ``allowed``, ``references``, ``encode``, ``decode``,
``state`` and ``from_state``, named in one line of ``TYPES``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.errors import ConfigError, CorpusError
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.examples import Examples
from speechprompt.tasks.sequences import SlotFilling, Transcription
from speechprompt.units import read_units

__all__ = ["Labels", "read_examples", "read_labels", "restore_labels"]

Labels = Classification | Transcription
TYPES = {kind.type: kind for kind in (Classification, Transcription, SlotFilling)}


def read_labels(index: str | Path, task_type: str, columns: Sequence[str]) -> Labels:
    """The labels that a train split defines.

    Raises:
        ConfigError: no such task type.
        CorpusError: a label column is missing or cannot be used.
    """
    if task_type not in TYPES:
        raise ConfigError(f"type: expected one of {', '.join(TYPES)}, found {task_type!r}")
    return TYPES[task_type].from_train(read_units(index), columns, str(index))


def restore_labels(state: Mapping[str, Any]) -> Labels:
    """The labels that a prompt file describes."""
    return TYPES[state["type"]].from_state(dict(state))


def read_examples(index: str | Path, labels: Labels, *, encode: bool = True) -> Examples:
    """Read a split's units and answers.

    Args:
        index: the split's index.json.
        labels: of the task.
        encode: whether label indices are needed, which training and dev need.

    Raises:
        CorpusError: a label column is missing, or has a label that train never had.
    """
    table = read_units(index)
    utt_ids = table["utt_id"].to_pylist()
    references = labels.references(table, str(index))
    pairs = zip(utt_ids, references, strict=True)
    return Examples(
        utt_ids=utt_ids,
        units=[np.asarray(row, dtype=np.int64) for row in table["units"].to_pylist()],
        labels=[_encode(labels, *pair, str(index)) for pair in pairs] if encode else [],
        references=references,
    )


def _encode(labels: Labels, utt_id: str, reference: str, origin: str) -> list[int]:
    try:
        return labels.encode(reference)
    except ValueError:
        raise CorpusError(
            f"{origin}: utterance {utt_id!r}: {reference!r} has a symbol that train never had; "
            f"train has: {' '.join(labels.names)}; leave it out, or have it in train too"
        ) from None
