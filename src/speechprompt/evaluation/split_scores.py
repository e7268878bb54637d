"""Scores of the splits and folds of predictions tables, one table per seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from speechprompt.evaluation.metrics import (
    MAIN_METRIC,
    Score,
    count_errors,
    metrics_of,
    score,
    score_gain,
)
from speechprompt.evaluation.predictions import about_predictions, counts, split_rows

__all__ = ["Scores", "fold_scores", "shuffled_answers", "split_gains", "split_scores"]

Scores = dict[str, dict[str, Score]]  # split -> metric -> score


def split_scores(tables: Sequence[pa.Table], heard: np.ndarray) -> Scores:
    """Metrics per split.

    Where a split has repeats, ``{main}_distinct`` leaves them out; where utterances occur in train,
    ``{main}_novel`` leaves these out.
    """
    main = MAIN_METRIC[about_predictions(tables[0])["type"]]
    metrics = metrics_of(tables[0].column_names)
    distinct = ~tables[0]["is_repeat"].to_numpy()
    result: Scores = {}
    for split, rows in split_rows(tables[0]).items():
        found = counts(tables, rows)
        result[split] = {name: score(metric, found) for name, metric in metrics.items()}
        if not distinct[rows].all():
            found = counts(tables, rows & distinct)
            result[split][f"{main}_distinct"] = score(metrics[main], found)
        if _has_both(heard[rows]):
            result[split][f"{main}_novel"] = score(metrics[main], counts(tables, rows & ~heard))
    return result


def fold_scores(tables: Sequence[pa.Table], main: str) -> dict[str, Score]:
    """The main metric of each fold, where the answers are those of a cross-validation."""
    if "fold" not in tables[0].column_names:
        return {}
    fold_of = np.array(tables[0]["fold"].to_pylist())
    metric = metrics_of(tables[0].column_names)[main]
    folds = sorted(set(fold_of.tolist()), key=int)
    return {fold: score(metric, counts(tables, fold_of == fold)) for fold in folds}


def _has_both(heard: np.ndarray) -> bool:
    """Whether some utterances are novel and some are not."""
    return bool(heard.any() and not heard.all())


def split_gains(
    tables: Sequence[pa.Table], baseline: Sequence[pa.Table], heard: np.ndarray
) -> Scores:
    """Gains over a baseline per split, of the metrics that both have."""
    main = MAIN_METRIC[about_predictions(tables[0])["type"]]
    metrics = metrics_of(sorted({*tables[0].column_names} & {*baseline[0].column_names}))
    result: Scores = {}
    for split, rows in split_rows(tables[0]).items():
        ours, theirs = counts(tables, rows), counts(baseline, rows)
        result[split] = {name: score_gain(m, ours, theirs) for name, m in metrics.items()}
        if main in metrics and _has_both(heard[rows]):
            ours, theirs = (counts(group, rows & ~heard) for group in (tables, baseline))
            result[split][f"{main}_novel"] = score_gain(metrics[main], ours, theirs)
    return result


def shuffled_answers(table: pa.Table, about: Mapping[str, Any]) -> pa.Table:
    """Predictions whose answers are moved to other utterances of the same split.

    An answer depends on its utterance only. Therefore moving the answers is the same as giving the
    model the wrong utterances.
    """
    source = np.arange(table.num_rows)
    for rows in split_rows(table).values():
        order = np.random.default_rng(0).permutation(np.flatnonzero(rows))
        source[order] = np.roll(order, 1)  # one cycle, so that none keeps its own answer
    references, answers = table["reference"].to_pylist(), table["prediction"].take(source)
    counted = count_errors(about["type"], about["columns"], references, answers.to_pylist())
    columns = dict(zip(table.column_names, table.columns, strict=True)) | counted
    return pa.table(columns, metadata=table.schema.metadata)
