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
        ArtefactError: an utterance is in two files, or the files are of different tasks.
    """
    pooled = _pooled(paths)
    return score(_main_metric(pooled), counts([pooled]))


def pooled_gain(paths: Sequence[str | Path], others: Sequence[str | Path]) -> Score:
    """Compute how much better the main metric is than in other predictions files.

    Args:
        paths: predictions files with disjoint utterances.
        others: predictions files of the same utterances.

    Raises:
        ArtefactError: an utterance is in two files, the utterances are not the same, or the files
            are of different tasks.
    """
    ours, theirs = _pooled(paths), _pooled(others)
    _check_same_task(others[0], theirs, paths[0], ours)
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
        ArtefactError: an utterance is in two folds, or the folds are of different tasks.
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
    """The rows of the last split of all files, in the columns of all, sorted by ``utt_id``."""
    tables: list[pa.Table] = []
    seen: set[str] = set()
    for fold, path in enumerate(paths, 1):
        table = read_predictions(path)
        if with_fold:
            table = table.append_column("fold", pa.array([str(fold)] * len(table), pa.string()))
        utterances = set(table["utt_id"].to_pylist())
        if seen & utterances:
            raise ArtefactError(f"{path}: {min(seen & utterances)!r} is in an earlier file too")
        seen |= utterances
        if tables:
            _check_same_task(path, table, paths[0], tables[0])
        tables.append(table)
    shared = [
        name
        for name in tables[0].column_names
        if all(name in table.column_names for table in tables)
    ]
    return pa.concat_tables(table.select(shared) for table in tables).sort_by("utt_id")


def _check_same_task(
    path: str | Path, table: pa.Table, first_path: str | Path, first: pa.Table
) -> None:
    """Check that predictions have the same type of task and label columns as the first ones."""
    found, expected = (_task_of(one) for one in (table, first))
    if found != expected:
        raise ArtefactError(f"{path}: expected {expected} as in {first_path}, found {found}")


def _task_of(table: pa.Table) -> str:
    about = about_predictions(table)
    return f"a {about['type']} of {', '.join(about['columns'])}"


def _main_metric(table: pa.Table) -> AnyMetric:
    """The main metric of a predictions file's type of task."""
    return metrics_of(table.column_names)[MAIN_METRIC[about_predictions(table)["type"]]]
