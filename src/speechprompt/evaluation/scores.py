"""Scores: predictions per utterance, metrics beside their baselines, summaries over seeds."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.metrics import (
    MAIN_METRIC,
    Metric,
    Score,
    count_errors,
    in_percent,
    metrics_of,
    score,
    score_gain,
)
from speechprompt.storage.files import copy_file, read_json, write_json, write_text
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.parquet import write_parquet

__all__ = [
    "Metrics",
    "about_predictions",
    "counts",
    "describe",
    "mark_repeats",
    "pool_predictions",
    "pooled_gain",
    "prompt_hashes",
    "publish",
    "read_predictions",
    "write_metrics",
    "write_predictions",
    "write_summary",
]

# What a seed's training wrote, by its name in ``hashes``.
TRAINED = {"prompt": "prompt.safetensors", "model": "model.safetensors"}
Scores = dict[str, dict[str, Score]]  # split -> metric -> score


class MainMetric(BaseModel):
    """The metric a task is known by, on the last scored split."""

    model_config = ConfigDict(extra="forbid")

    name: str
    value: float
    higher_is_better: bool


class Metrics(BaseModel):
    """The content of metrics.json; fractions, never percentages; no times, no host names.

    ``floors`` are the scores of baselines on the same utterances, ``gains`` how much better than
    each the result is: above 0 is better, whichever way the metric points.
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


def mark_repeats(units: Sequence[np.ndarray], references: Sequence[str]) -> list[bool]:
    """True where the same units with the same reference stood in an earlier row."""
    seen: set[tuple[bytes, str]] = set()
    repeats = []
    for row, reference in zip(units, references, strict=True):
        key = (np.asarray(row, dtype=np.int64).tobytes(), reference)
        repeats.append(key in seen)
        seen.add(key)
    return repeats


def write_predictions(
    path: str | Path,
    splits: Mapping[str, Mapping[str, Sequence[Any]]],
    *,
    task_type: str,
    columns: Sequence[str],
    method: str,
) -> None:
    """Write predictions, one row per utterance of every scored split, with what metrics need.

    Args:
        path: Parquet file to write.
        splits: per split ``utt_id``, ``reference`` and ``prediction`` (answers written down),
            ``score`` (log-probability of the answer), ``is_repeat``, and ``invalid`` where free
            decoding was tried.
        task_type: classification, transcription or slot_filling.
        columns: the label columns.
        method: what made the predictions.
    """
    tables = []
    for split, data in splits.items():
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
        counted = count_errors(task_type, columns, data["reference"], data["prediction"])
        tables.append(pa.table({**given, **counted}))
    about = {"type": task_type, "columns": list(columns), "method": method}
    table = pa.concat_tables(tables)
    write_parquet(path, table.replace_schema_metadata({"speechprompt": json.dumps(about)}))


def write_metrics(
    path: str | Path,
    predictions: Sequence[str | Path],
    *,
    task: str,
    method: str,
    baselines: Sequence[str | Path] = (),
    **facts: Any,
) -> Metrics:
    """Score the predictions of one or several seeds and write metrics.json.

    Values are means over the seeds; intervals come from a bootstrap over utterances of the mean
    over seeds per utterance. The main metric is the last split's. Beside other baselines, generated
    answers are compared with themselves shuffled over the utterances: what the prompt says whatever
    it hears.

    Args:
        path: JSON file to write.
        predictions: files of :func:`write_predictions`, one per seed.
        task: the task's name.
        method: what was trained.
        baselines: predictions files of baselines for the same utterances.
        facts: further fields of :class:`Metrics`.

    Raises:
        ArtefactError: the files do not hold the same utterances.
    """
    tables = [pq.read_table(file) for file in predictions]
    about = about_predictions(tables[0])
    compared = {
        about_predictions(table)["method"]: [table] for table in map(pq.read_table, baselines)
    }
    if baselines and about["type"] != "classification":
        compared["shuffled"] = [_shuffled(table, about) for table in tables]
    for other in (*tables, *(table for group in compared.values() for table in group)):
        _check_same_utterances(tables[0], other)
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
    return metrics


def write_summary(
    path: str | Path, folders: Sequence[str | Path], baselines: Sequence[str | Path] = ()
) -> Metrics:
    """Summarise a method's seeds, each a folder with predictions.parquet and metrics.json."""
    folders = [Path(folder) for folder in folders]
    each = [Metrics.model_validate(read_json(folder / "metrics.json")) for folder in folders]
    seeds = [seed for entry in each for seed in entry.seeds]
    (own,) = TRAINED.keys() & each[0].hashes.keys()
    shared = {key: value for key, value in each[0].hashes.items() if key != own}
    trained = {f"{own}_seed_{s}": e.hashes[own] for s, e in zip(seeds, each, strict=True)}
    return write_metrics(
        path,
        [folder / "predictions.parquet" for folder in folders],
        task=each[0].task,
        method=each[0].method,
        baselines=baselines,
        trainable_parameters=each[0].trainable_parameters,
        seeds=seeds,
        per_seed={str(s): e.main.value for s, e in zip(seeds, each, strict=True)},
        hashes=shared | trained,
    )


def publish(folder: str | Path, summary: str | Path, score_file: str | Path) -> Metrics:
    """Publish a task: what a seed trained, its predictions, the summary, the score in percent.

    Args:
        folder: the seed's folder.
        summary: metrics.json over the seeds, of any folder.
        score_file: the score, two decimals; the rest goes beside it.

    Raises:
        ArtefactError: the folder holds nothing trained.
    """
    folder, out = Path(folder), Path(score_file).parent
    trained = next((folder / name for name in TRAINED.values() if (folder / name).exists()), None)
    if trained is None:
        raise ArtefactError(f"{folder}: expected {' or '.join(TRAINED.values())}, found neither")
    for source in (trained, folder / "predictions.parquet", Path(summary)):
        copy_file(source, out / source.name)
    metrics = Metrics.model_validate(read_json(summary))
    write_text(score_file, f"{100 * metrics.main.value:.2f}\n")
    return metrics


def describe(metrics: Metrics) -> str:
    """The main metric in one line: interval, count, and the baselines beside it."""
    split, scores = list(metrics.splits.items())[-1]
    found = scores[metrics.main.name]
    text = (
        f"{metrics.task}: {metrics.main.name} {in_percent(found.value, found.interval, ' %')}, "
        f"{split} split, {found.n} utterances, {len(metrics.seeds)} seed(s)"
    )
    for name, floor in metrics.floors.items():
        text += f"; {name.replace('_', ' ')} {100 * floor[split][metrics.main.name].value:.2f} %"
    return text


def pool_predictions(paths: Sequence[str | Path], split: str | None = None) -> Score:
    """The main metric over several predictions files together, such as left-out speakers.

    Args:
        paths: predictions files with disjoint utterances.
        split: the split to take; by default each file's last one.

    Raises:
        ArtefactError: an utterance stands in two files, or a file has no such split.
    """
    pooled = _pooled(paths, split)
    return score(_main_metric(pooled), counts([pooled]))


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
    _check_same_utterances(ours, theirs)
    return score_gain(_main_metric(ours), counts([ours]), counts([theirs]))


def _pooled(paths: Sequence[str | Path], split: str | None) -> pa.Table:
    """The rows of all files, in the order of their utterances' names."""
    tables, seen = [], set()
    for path in paths:
        table = read_predictions(path, split)
        utterances = set(table["utt_id"].to_pylist())
        if seen & utterances:
            raise ArtefactError(f"{path}: {min(seen & utterances)!r} is in an earlier file too")
        seen |= utterances
        tables.append(table)
    return pa.concat_tables(tables).sort_by("utt_id")


def _main_metric(table: pa.Table) -> Metric:
    return metrics_of(table.column_names)[MAIN_METRIC[about_predictions(table)["type"]]]


def read_predictions(path: str | Path, split: str | None = None) -> pa.Table:
    """The rows of one split of a predictions file, by default the last, which is the main one.

    Raises:
        ArtefactError: the file has no such split.
    """
    table = pq.read_table(path)
    wanted = split or table["split"][-1].as_py()
    table = table.filter(pc.equal(table["split"], wanted))
    if not table.num_rows:
        raise ArtefactError(f"{path}: no rows of split {wanted!r}")
    return table


def prompt_hashes(prompt: str | Path, metadata: Mapping[str, Any]) -> dict[str, str]:
    """The hashes that tie a prompt to its unit LM and codebook."""
    keys = ("lm_sha256", "codebook_sha256")
    return {key.removesuffix("_sha256"): metadata[key] for key in keys} | {
        "prompt": sha256_file(prompt)
    }


def _scores(tables: Sequence[pa.Table]) -> Scores:
    """Metrics per split; ``{main}_distinct`` leaves out repeats, where a split has any."""
    main = MAIN_METRIC[about_predictions(tables[0])["type"]]
    metrics = metrics_of(tables[0].column_names)
    distinct = ~tables[0]["is_repeat"].to_numpy()
    result: Scores = {}
    for split, rows in _split_rows(tables[0]).items():
        found = counts(tables, rows)
        result[split] = {name: score(metric, found) for name, metric in metrics.items()}
        if not distinct[rows].all():
            found = counts(tables, rows & distinct)
            result[split][f"{main}_distinct"] = score(metrics[main], found)
    return result


def _gains(tables: Sequence[pa.Table], baseline: Sequence[pa.Table]) -> Scores:
    metrics = metrics_of(sorted({*tables[0].column_names} & {*baseline[0].column_names}))
    result: Scores = {}
    for split, rows in _split_rows(tables[0]).items():
        ours, theirs = counts(tables, rows), counts(baseline, rows)
        result[split] = {name: score_gain(m, ours, theirs) for name, m in metrics.items()}
    return result


def counts(
    tables: Sequence[pa.Table], rows: np.ndarray | slice = slice(None)
) -> dict[str, np.ndarray]:
    """The numeric columns of one or several seeds' predictions, [seeds, n] each."""
    schema = tables[0].schema
    names = [f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    return {name: np.stack([table[name].to_numpy()[rows] for table in tables]) for name in names}


def _split_rows(table: pa.Table) -> dict[str, np.ndarray]:
    split_of = np.array(table["split"].to_pylist())
    return {str(split): split_of == split for split in dict.fromkeys(split_of.tolist())}


def _shuffled(table: pa.Table, about: Mapping[str, Any]) -> pa.Table:
    """The answers moved to other utterances of the same split: the prompt fed with the wrong ones.

    An utterance is answered alone as in any batch, so feeding others is moving the answers.
    """
    source = np.arange(table.num_rows)
    for rows in _split_rows(table).values():
        order = np.random.default_rng(0).permutation(np.flatnonzero(rows))
        source[order] = np.roll(order, 1)  # one cycle: nobody keeps its own
    references, answers = table["reference"].to_pylist(), table["prediction"].take(source)
    counted = count_errors(about["type"], about["columns"], references, answers.to_pylist())
    kept = table.select([name for name in table.column_names if name not in counted])
    for name, values in counted.items():
        kept = kept.append_column(name, pa.array(values))
    return kept


def _check_same_utterances(first: pa.Table, other: pa.Table) -> None:
    if other["utt_id"] != first["utt_id"] or other["split"] != first["split"]:
        raise ArtefactError("predictions that are compared hold different utterances")


def about_predictions(table: pa.Table) -> dict[str, Any]:
    """Task type, label columns and method of a predictions file."""
    return json.loads((table.schema.metadata or {})[b"speechprompt"])


def _versions() -> dict[str, str]:
    packages = ("speechprompt", "torch", "torchaudio", "numpy", "scikit-learn", "pyarrow")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
