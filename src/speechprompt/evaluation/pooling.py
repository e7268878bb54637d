"""Scores over several predictions files, such as those of speakers that are left out in turn."""

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
    """Compute the main metric over several predictions files together.

    Args:
        paths: predictions files with disjoint utterances.
        split: split to score; by default the last one of each file.

    Raises:
        ArtefactError: an utterance is in two files, or a file has no such split.
    """
    pooled = _pooled(paths, split)
    return score(main_metric(pooled), counts([pooled]))


def pooled_gain(
    paths: Sequence[str | Path], others: Sequence[str | Path], split: str | None = None
) -> Score:
    """Compute how much better the main metric is than in other predictions files.

    Args:
        paths: predictions files with disjoint utterances.
        others: predictions files of the same utterances.
        split: split to compare; by default the last one of each file.

    Raises:
        ArtefactError: an utterance is in two files, a file has no such split, or the utterances
            are not the same.
    """
    ours, theirs = _pooled(paths, split), _pooled(others, split)
    check_same_utterances(ours, theirs)
    return score_gain(main_metric(ours), counts([ours]), counts([theirs]))


def _pooled(paths: Sequence[str | Path], split: str | None) -> pa.Table:
    """The rows of all files, sorted by ``utt_id``."""
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
