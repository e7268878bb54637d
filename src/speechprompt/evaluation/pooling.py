"""Predictions files of disjoint utterances scored together, such as speakers left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.metrics import Score, score, score_gain
from speechprompt.evaluation.predictions import (
    check_same_utterances,
    counts,
    main_metric,
    read_predictions,
)

__all__ = ["pool_predictions", "pooled_gain"]


def pool_predictions(paths: Sequence[str | Path], split: str | None = None) -> Score:
    """The main metric over several predictions files together, such as left-out speakers.

    Args:
        paths: predictions files with disjoint utterances.
        split: the split to take; by default each file's last one.

    Raises:
        ArtefactError: an utterance stands in two files, or a file has no such split.
    """
    pooled = _pooled(paths, split)
    return score(main_metric(pooled), counts([pooled]))


def pooled_gain(
    paths: Sequence[str | Path], others: Sequence[str | Path], split: str | None = None
) -> Score:
    """By how much the main metric is better than in others' predictions, paired bootstrap.

    Args:
        paths, split: see :func:`pool_predictions`.
        others: predictions of the same utterances.

    Raises:
        ArtefactError: as for :func:`pool_predictions`, or the utterances are not the same.
    """
    ours, theirs = _pooled(paths, split), _pooled(others, split)
    check_same_utterances(ours, theirs)
    return score_gain(main_metric(ours), counts([ours]), counts([theirs]))


def _pooled(paths: Sequence[str | Path], split: str | None) -> pa.Table:
    """The rows of all files, in the order of their utterances' names."""
    tables = []
    seen: set[str] = set()
    for path in paths:
        table = read_predictions(path, split)
        utterances = set(table["utt_id"].to_pylist())
        if seen & utterances:
            raise ArtefactError(f"{path}: {min(seen & utterances)!r} is in an earlier file too")
        seen |= utterances
        tables.append(table)
    return pa.concat_tables(tables).sort_by("utt_id")
