"""Scores: metrics beside their baselines, from the predictions of one or several seeds."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from speechprompt.evaluation.metrics import (
    MAIN_METRIC,
    Score,
    count_errors,
    in_percent,
    metrics_of,
    score,
    score_gain,
)
from speechprompt.evaluation.predictions import (
    about_predictions,
    check_same_utterances,
    counts,
    split_rows,
)
from speechprompt.runtime.progress import log
from speechprompt.storage.files import write_json
from speechprompt.storage.parquet import read_parquet

__all__ = ["Metrics", "describe", "write_metrics"]

Scores = dict[str, dict[str, Score]]  # split -> metric -> score


class MainMetric(BaseModel):
    """The main metric of a task on the last scored split."""

    model_config = ConfigDict(extra="forbid")

    name: str
    value: float
    higher_is_better: bool


class Metrics(BaseModel):
    """The content of metrics.json. It has fractions, not percentages, and no times or host names.

    ``floors`` has the scores of each baseline on the same utterances. ``gains`` has how much better
    than each baseline the result is: above 0 it is better, whichever way the metric points.
    """

    model_config = ConfigDict(extra="forbid")

    task: str
    type: str
    method: str
    main: MainMetric
    splits: Scores
    floors: dict[str, Scores] = {}
    gains: dict[str, Scores] = {}
    trainable_parameters: int | None = None
    seeds: list[int] = []
    per_seed: dict[str, float] = {}
    details: dict[str, Any] = {}
    versions: dict[str, str] = {}
    hashes: dict[str, str] = {}


def write_metrics(
    path: str | Path,
    predictions: Sequence[str | Path],
    *,
    task: str,
    method: str,
    baselines: Sequence[str | Path] = (),
    **facts: Any,
) -> Metrics:
    """Score the predictions of one or several seeds, write metrics.json and log the main score.

    Values are means over the seeds. Intervals come from a bootstrap over utterances, whose numbers
    are averaged over the seeds first. The main metric is that of the last split. Generated answers
    are also compared with the baseline ``shuffled``, the same answers moved to other utterances: it
    shows how good answers are that do not depend on the audio.

    Args:
        path: JSON file to write.
        predictions: predictions files, one per seed.
        task: name of the task.
        method: name of the method or baseline.
        baselines: predictions files of baselines for the same utterances.
        facts: further fields of :class:`Metrics`.

    Raises:
        ArtefactError: the files do not hold the same utterances.
    """
    tables = [read_parquet(file) for file in predictions]
    about = about_predictions(tables[0])
    compared = {
        about_predictions(table)["method"]: [table] for table in map(read_parquet, baselines)
    }
    if baselines and about["type"] != "classification":
        compared["shuffled"] = [_shuffled(table, about) for table in tables]
    for other in (*tables, *(table for group in compared.values() for table in group)):
        check_same_utterances(tables[0], other)
    scores = _scores(tables)
    name = MAIN_METRIC[about["type"]]
    metrics = Metrics(
        task=task,
        type=about["type"],
        method=method,
        main=MainMetric(
            name=name,
            value=list(scores.values())[-1][name].value,
            higher_is_better=metrics_of(tables[0].column_names)[name].higher_is_better,
        ),
        splits=scores,
        floors={key: _scores(group) for key, group in compared.items()},
        gains={key: _gains(tables, group) for key, group in compared.items()},
        versions=_versions(),
        **facts,
    )
    write_json(path, metrics.model_dump(mode="json"))
    log(describe(metrics))
    return metrics


def describe(metrics: Metrics) -> str:
    """Describe the main metric in one line, with its interval and the baselines."""
    split, scores = list(metrics.splits.items())[-1]
    found = scores[metrics.main.name]
    text = (
        f"{metrics.task}: {metrics.main.name} {in_percent(found.value, found.interval, ' %')}, "
        f"{split} split, {found.n} utterances"
    )
    if metrics.seeds:
        text += f", {len(metrics.seeds)} seed(s)"
    for name, baseline in metrics.floors.items():
        score_of_baseline = baseline[split][metrics.main.name].value
        text += f"; {name.replace('_', ' ')} {100 * score_of_baseline:.2f} %"
    return text


def _scores(tables: Sequence[pa.Table]) -> Scores:
    """Metrics per split; where a split has repeats, ``{main}_distinct`` leaves them out."""
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
    return result


def _gains(tables: Sequence[pa.Table], baseline: Sequence[pa.Table]) -> Scores:
    """Gains over a baseline per split, of the metrics that both have."""
    metrics = metrics_of(sorted({*tables[0].column_names} & {*baseline[0].column_names}))
    result: Scores = {}
    for split, rows in split_rows(tables[0]).items():
        ours, theirs = counts(tables, rows), counts(baseline, rows)
        result[split] = {name: score_gain(m, ours, theirs) for name, m in metrics.items()}
    return result


def _shuffled(table: pa.Table, about: Mapping[str, Any]) -> pa.Table:
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
    kept = table.select([name for name in table.column_names if name not in counted])
    for name, values in counted.items():
        kept = kept.append_column(name, pa.array(values))
    return kept


def _versions() -> dict[str, str]:
    packages = ("speechprompt", "torch", "torchaudio", "numpy", "scikit-learn", "pyarrow")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
