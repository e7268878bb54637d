"""Scores: predictions per utterance, metrics with intervals, their summary over seeds."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from speechprompt.errors import ArtefactError
from speechprompt.files import (
    atomic_path,
    read_json,
    sha256_file,
    write_json,
    write_parquet,
    write_text,
)

__all__ = [
    "Metrics",
    "Score",
    "classification_scores",
    "describe",
    "mark_repeats",
    "pool_predictions",
    "prompt_hashes",
    "publish",
    "write_metrics",
    "write_predictions",
]

RESAMPLES = 2000
SEPARATOR = " | "


class Score(BaseModel):
    """A metric as a fraction, its 95 % bootstrap interval over utterances, and their number."""

    model_config = ConfigDict(extra="forbid")

    value: float
    interval: tuple[float, float]
    n: int


class MainMetric(BaseModel):
    """The metric a task is known by."""

    model_config = ConfigDict(extra="forbid")

    name: str
    value: float
    higher_is_better: bool


class Metrics(BaseModel):
    """The content of metrics.json; fractions, never percentages; no times, no host names."""

    model_config = ConfigDict(extra="forbid")

    task: str
    method: str
    main: MainMetric
    splits: dict[str, dict[str, Score]]
    floors: dict[str, dict[str, dict[str, Score]]] = {}
    trainable_parameters: int | None = None
    seeds: list[int] = []
    per_seed: dict[str, float] = {}
    details: dict[str, Any] = {}
    versions: dict[str, str] = {}
    hashes: dict[str, str] = {}


def bootstrap(errors: np.ndarray, seed: int = 0) -> Score:
    """Accuracy from errors per utterance, with a percentile bootstrap interval over utterances.

    Args:
        errors: [n] or [seeds, n], 0 for right and 1 for wrong; seeds are averaged per utterance.
        seed: of the resampling.
    """
    right = 1.0 - np.atleast_2d(errors).mean(axis=0)
    n = right.size
    rng = np.random.default_rng(seed)
    means = np.array([right[rng.integers(0, n, n)].mean() for _ in range(RESAMPLES)])
    low, high = np.percentile(means, [2.5, 97.5])
    return Score(value=float(right.mean()), interval=(float(low), float(high)), n=n)


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
    columns: Sequence[str],
) -> None:
    """Write predictions of a classification task, one row per utterance of every scored split.

    Args:
        path: Parquet file to write.
        splits: per split ``utt_id``, ``reference`` and ``prediction`` (lists of one value per label
            column), ``score`` (log-probability of the answer) and ``is_repeat``.
        columns: the label columns.
    """
    rows: list[dict[str, Any]] = []
    for split, data in splits.items():
        keys = ("utt_id", "reference", "prediction", "score", "is_repeat")
        for utt_id, truth, guess, score, repeat in zip(*(data[k] for k in keys), strict=True):
            row = {
                "utt_id": utt_id,
                "split": split,
                "reference": SEPARATOR.join(truth),
                "prediction": SEPARATOR.join(guess),
                "score": float(score),
                "errors": int(list(truth) != list(guess)),
                "is_repeat": bool(repeat),
            }
            if len(columns) > 1:
                pairs = zip(columns, truth, guess, strict=True)
                row |= {f"errors_{column}": int(a != b) for column, a, b in pairs}
            rows.append(row)
    write_parquet(path, pa.Table.from_pylist(rows))


def classification_scores(tables: Sequence[pa.Table], seed: int = 0) -> dict[str, dict[str, Score]]:
    """Accuracies per split of one or several seeds' predictions.

    ``acc`` counts an utterance as right when every column is (SUPERB's intent accuracy), by row;
    ``acc_{column}`` counts one column; ``acc_distinct`` leaves out repeated utterances, where a
    split has any.

    Raises:
        ArtefactError: the tables do not hold the same utterances.
    """
    first = tables[0]
    for table in tables[1:]:
        if table["utt_id"] != first["utt_id"] or table["split"] != first["split"]:
            raise ArtefactError("predictions of different seeds hold different utterances")
    names = [name for name in first.column_names if name.startswith("errors")]
    errors = {name: np.stack([table[name].to_numpy() for table in tables]) for name in names}
    distinct = ~first["is_repeat"].to_numpy(zero_copy_only=False)
    split_of = np.array(first["split"].to_pylist())
    result: dict[str, dict[str, Score]] = {}
    for split in dict.fromkeys(split_of.tolist()):
        rows = split_of == split
        scores = {
            name.replace("errors", "acc", 1): bootstrap(errors[name][:, rows], seed)
            for name in names
        }
        if not distinct[rows].all():
            scores["acc_distinct"] = bootstrap(errors["errors"][:, rows & distinct], seed)
        result[split] = scores
    return result


def write_metrics(
    path: str | Path,
    predictions: str | Path,
    *,
    task: str,
    method: str,
    floors: Mapping[str, str | Path] | None = None,
    **facts: Any,
) -> Metrics:
    """Score one predictions file and write its metrics.json; the main metric is the last split's.

    Args:
        path: JSON file to write.
        predictions: Parquet file of :func:`write_predictions`.
        task: the task's name.
        method: what was trained.
        floors: metrics.json files of baselines by name, quoted beside the result.
        facts: further fields of :class:`Metrics`.
    """
    scores = classification_scores([pq.read_table(predictions)])
    main = MainMetric(name="acc", value=_main_value(scores), higher_is_better=True)
    quoted = {name: _read_scores(file) for name, file in (floors or {}).items()}
    metrics = Metrics(
        task=task,
        method=method,
        main=main,
        splits=scores,
        floors=quoted,
        versions=_versions(),
        **facts,
    )
    write_json(path, metrics.model_dump(mode="json"))
    return metrics


def publish(folders: Sequence[str | Path], out: str | Path) -> Metrics:
    """Publish a task: first seed's prompt and predictions, metrics over seeds, one-line score.

    The value is the mean over seeds; the interval is a bootstrap over utterances of the mean over
    seeds per utterance. The score is in percent with two decimals.
    """
    folders, out = [Path(folder) for folder in folders], Path(out)
    for name in ("prompt.safetensors", "predictions.parquet"):
        with atomic_path(out / name) as temporary:
            shutil.copyfile(folders[0] / name, temporary)
    scores = classification_scores(
        [pq.read_table(folder / "predictions.parquet") for folder in folders]
    )
    each = [read_json(folder / "metrics.json") for folder in folders]
    seeds = [seed for entry in each for seed in entry["seeds"]]
    shared = {key: value for key, value in each[0]["hashes"].items() if key != "prompt"}
    metrics = Metrics.model_validate(
        each[0]
        | {
            "main": each[0]["main"] | {"value": _main_value(scores)},
            "splits": scores,
            "seeds": seeds,
            "per_seed": {s: e["main"]["value"] for s, e in zip(map(str, seeds), each, strict=True)},
            "details": {},
            "hashes": shared
            | {f"prompt_seed_{s}": e["hashes"]["prompt"] for s, e in zip(seeds, each, strict=True)},
        }
    )
    write_json(out / "metrics.json", metrics.model_dump(mode="json"))
    write_text(out / "acc.txt", f"{100 * metrics.main.value:.2f}\n")
    return metrics


def describe(metrics: Metrics) -> str:
    """The main metric in one line: interval, count, and the floors beside it."""
    split, scores = list(metrics.splits.items())[-1]
    score = scores[metrics.main.name]
    low, high = (100 * bound for bound in score.interval)
    text = (
        f"{metrics.task}: {metrics.main.name} {100 * score.value:.2f} % [{low:.2f}, {high:.2f}], "
        f"{split} split, {score.n} utterances, {len(metrics.seeds)} seed(s)"
    )
    for name, floor in metrics.floors.items():
        text += f"; {name.replace('_', ' ')} {100 * floor[split][metrics.main.name].value:.2f} %"
    return text


def pool_predictions(paths: Sequence[str | Path], split: str | None = None) -> Score:
    """Accuracy over the rows of several predictions files together, such as left-out speakers.

    Args:
        paths: predictions files with disjoint utterances.
        split: the split to take; by default each file's last one.

    Raises:
        ArtefactError: an utterance stands in two files, or a file has no such split.
    """
    errors, seen = [], set()
    for path in paths:
        table = pq.read_table(path)
        wanted = split or table["split"][-1].as_py()
        table = table.filter(pa.compute.equal(table["split"], wanted))
        if not table.num_rows:
            raise ArtefactError(f"{path}: no rows of split {wanted!r}")
        utterances = set(table["utt_id"].to_pylist())
        if seen & utterances:
            raise ArtefactError(f"{path}: {min(seen & utterances)!r} is in an earlier file too")
        seen |= utterances
        errors.append(table["errors"].to_numpy())
    return bootstrap(np.concatenate(errors))


def prompt_hashes(prompt: str | Path, metadata: Mapping[str, Any]) -> dict[str, str]:
    """The hashes that tie a prompt to its unit LM and codebook."""
    keys = ("lm_sha256", "codebook_sha256")
    return {key.removesuffix("_sha256"): metadata[key] for key in keys} | {
        "prompt": sha256_file(prompt)
    }


def _main_value(scores: Mapping[str, Mapping[str, Score]]) -> float:
    return list(scores.values())[-1]["acc"].value


def _read_scores(path: str | Path) -> dict[str, dict[str, Score]]:
    return Metrics.model_validate(read_json(path)).splits


def _versions() -> dict[str, str]:
    packages = ("speechprompt", "torch", "torchaudio", "numpy", "scikit-learn", "pyarrow")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
