"""Scores over several predictions files, such as those of speakers that are left out in turn."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.metrics import (
    MAIN_METRIC,
    AnyMetric,
    Score,
    metrics_of,
    score,
    score_gain,
)
from speechprompt.evaluation.predictions import (
    about_predictions,
    check_same_utterances,
    counts,
    read_predictions,
)

__all__ = ["pool_predictions", "pooled_gain"]


def pool_predictions(paths: Sequence[str | Path]) -> Score:
    """Compute the main metric on the last split of several predictions files together.

    Args:
        paths: predictions files with disjoint utterances.

    Raises:
        ArtefactError: an utterance is in two files.
    """
    pooled = _pooled(paths)
    return score(_main_metric(pooled), counts([pooled]))


def pooled_gain(paths: Sequence[str | Path], others: Sequence[str | Path]) -> Score:
    """Compute how much better the main metric is than in other predictions files.

    Args:
        paths: predictions files with disjoint utterances.
        others: predictions files of the same utterances.

    Raises:
        ArtefactError: an utterance is in two files, or the utterances are not the same.
    """
    ours, theirs = _pooled(paths), _pooled(others)
    check_same_utterances(ours, theirs)
    return score_gain(_main_metric(ours), counts([ours]), counts([theirs]))


def _pooled(paths: Sequence[str | Path]) -> pa.Table:
    """The rows of the last split of all files, sorted by ``utt_id``."""
    tables = []
    seen: set[str] = set()
    for path in paths:
        table = read_predictions(path)
        utterances = set(table["utt_id"].to_pylist())
        if seen & utterances:
            raise ArtefactError(f"{path}: {min(seen & utterances)!r} is in an earlier file too")
        seen |= utterances
        tables.append(table)
    return pa.concat_tables(tables).sort_by("utt_id")


def _main_metric(table: pa.Table) -> AnyMetric:
    """The main metric of a predictions file's type of task."""
    return metrics_of(table.column_names)[MAIN_METRIC[about_predictions(table)["type"]]]
