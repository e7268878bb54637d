"""Scores over several predictions files, such as those of speakers that are left out in turn."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.calibration import Calibration
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
from speechprompt.evaluation.scored_splits import ScoreFiles
from speechprompt.evaluation.scores import Metrics, trained_hashes, write_metrics
from speechprompt.storage.parquet import write_parquet

__all__ = ["pool_folds", "pool_predictions", "pooled_gain"]


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


def pool_folds(folders: Sequence[str | Path], files: ScoreFiles, task: str) -> Metrics:
    """Score the answers of a method or baseline to all folds of a cross-validation together.

    The predictions have the column ``fold``, from 1. Facts about each training are kept by fold;
    the calibration is the mean over the folds.

    Args:
        folders: folder of each fold, with predictions.parquet and metrics.json.
        files: files to write, and the baselines over the same folds to compare with.
        task: name of the task.

    Raises:
        ArtefactError: an utterance is in two folds.
    """
    each = [Metrics.read(Path(folder, "metrics.json")) for folder in folders]
    pooled = _pooled([Path(folder, "predictions.parquet") for folder in folders], with_fold=True)
    about = {"speechprompt": json.dumps(about_predictions(pooled))}
    write_parquet(files.predictions, pooled.replace_schema_metadata(about))
    shared, _ = trained_hashes(each[0])
    trained = {
        f"{key}_fold_{fold}": value
        for fold, one in enumerate(each, 1)
        for key, value in trained_hashes(one)[1].items()
    }
    return write_metrics(
        files.metrics,
        [files.predictions],
        task=task,
        method=each[0].method,
        baselines=files.baselines,
        trainable_parameters=each[0].trainable_parameters,
        seeds=each[0].seeds,
        details={f"fold_{fold}": one.details for fold, one in enumerate(each, 1) if one.details},
        calibration={
            split: Calibration.mean([one.calibration[split] for one in each])
            for split in each[0].calibration
        },
        hashes=shared | trained,
    )


def _pooled(paths: Sequence[str | Path], with_fold: bool = False) -> pa.Table:
    """The rows of the last split of all files, sorted by ``utt_id``."""
    tables = []
    seen: set[str] = set()
    for fold, path in enumerate(paths, 1):
        table = read_predictions(path)
        if with_fold:
            table = table.append_column("fold", pa.array([str(fold)] * len(table), pa.string()))
        utterances = set(table["utt_id"].to_pylist())
        if seen & utterances:
            raise ArtefactError(f"{path}: {min(seen & utterances)!r} is in an earlier file too")
        seen |= utterances
        tables.append(table)
    return pa.concat_tables(tables).sort_by("utt_id")


def _main_metric(table: pa.Table) -> AnyMetric:
    """The main metric of a predictions file's type of task."""
    return metrics_of(table.column_names)[MAIN_METRIC[about_predictions(table)["type"]]]
