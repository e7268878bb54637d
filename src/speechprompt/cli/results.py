"""Verbs from a trained prompt to scores, tables and pictures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from speechprompt.cli.verb import boolean, verb
from speechprompt.config.tasks import DecodingSettings
from speechprompt.runtime.progress import log

if TYPE_CHECKING:
    from speechprompt.evaluation.metrics import Score

NAME = {"--name": {"required": True, "help": "name of the task"}}
ANSWERS = {
    "--type": {"default": "classification", "help": "form of the answer"},
    "--labels": {"type": json.loads, "required": True, "help": "JSON list of label columns"},
}
SCORED = {
    "--scored": "index.json of each split to score, the main one last",
    "--predictions": "predictions to write",
    "--metrics": "metrics.json to write",
}
BASELINE = {
    "--train": "index.json of the train split",
    "--dev": "index.json of the split that choices look at",
    **SCORED,
}


@verb(
    files=BASELINE,
    many=("--scored",),
    options=NAME
    | ANSWERS
    | {"--balance": {"type": boolean, "default": False, "help": "weight classes equally"}},
)
def fit_floor(a: argparse.Namespace) -> None:
    """Score the floor of a classification: logistic regression on unit 1-3-grams."""
    from speechprompt.evaluation.ngram_baseline import fit_floor
    from speechprompt.tasks.labels import read_examples, read_labels

    labels = read_labels(a.train, a.type, a.labels)
    train, dev = read_examples(a.train, labels), read_examples(a.dev, labels)
    scored = {_split(path): read_examples(path, labels) for path in a.scored}
    floor = fit_floor(
        (train.units, train.references),
        (dev.units, dev.references),
        {split: examples.units for split, examples in scored.items()},
        balance=a.balance,
    )
    answers = {split: (floor.answers[split].tolist(), floor.scores[split]) for split in scored}
    details = {
        "model": "logistic regression on unit 1-3-grams",
        **floor.setting,
        "n_features": floor.n_features,
        "dev_accuracy": floor.dev_accuracy,
    }
    _write_baseline(a, scored, answers, "ngram_logistic_regression", details)


@verb(
    files=BASELINE,
    many=("--scored",),
    options=NAME | ANSWERS,
)
def score_constant(a: argparse.Namespace) -> None:
    """Score the audio-free baseline of a generation: the best constant answer."""
    from speechprompt.evaluation.constant_baseline import choose_constant
    from speechprompt.tasks.labels import read_examples, read_labels

    labels = read_labels(a.train, a.type, a.labels)
    train, dev = (read_examples(path, labels, encode=False) for path in (a.train, a.dev))
    scored = {_split(path): read_examples(path, labels, encode=False) for path in a.scored}
    answer = choose_constant(a.type, train.references, dev.references)
    answers = {
        split: ([answer] * len(examples), [0.0] * len(examples))
        for split, examples in scored.items()
    }
    _write_baseline(a, scored, answers, "constant", {"answer": answer})


@verb(
    files={
        "prompt": "trained prompt",
        "--unit-lm": "unit LM",
        "--floor": "predictions of the floor on the same splits",
        **SCORED,
    },
    many=("--scored",),
    optional=("--floor",),
    options=NAME,
    settings=DecodingSettings,
    compute=True,
)
def score_prompt(a: argparse.Namespace, decoding: DecodingSettings) -> None:
    """Answer the scored splits with a trained prompt and measure."""
    from speechprompt.evaluation.scores import prompt_hashes
    from speechprompt.prompting.decoding import predict
    from speechprompt.prompting.task_model import load_task_model
    from speechprompt.runtime.precision import resolve_precision
    from speechprompt.storage.files import read_json
    from speechprompt.storage.tensors import read_tensor_metadata
    from speechprompt.tasks.labels import read_examples, restore_labels

    described = read_tensor_metadata(a.prompt)
    labels = restore_labels(described["answers"])
    # One, or the unit LM refuses those that are not its own.
    codebooks = {read_json(path)["codebook_sha256"] for path in a.scored}
    settings = decoding.model_dump()
    dtype = resolve_precision(settings.pop("precision"), a.device)
    for codebook in codebooks:
        task = load_task_model(a.prompt, a.unit_lm, codebook, dtype, a.device)
    splits = {}
    for path in a.scored:
        examples = read_examples(path, labels, encode=False)
        answers = predict(task, examples.units, utt_ids=examples.utt_ids, **settings)
        rows = _rows(examples, [labels.decode(row) for row in answers.labels], answers.scores)
        if labels.allowed is not None and task.verbalizer.kind != "learnable":
            # A learnable verbalizer's labels are no units, so nothing can be decoded freely.
            free = answers if decoding.free else predict(task, examples.units, free=True)
            rows["invalid"] = ~free.valid
        splits[_split(path)] = rows
    details = {"training": described["training"]}
    write_scores(a, splits, labels, described, details, prompt_hashes(a.prompt, described))


@verb(
    files={
        "seeds": "folder of each seed, the published one first",
        "--floor": "predictions of the floor on the same splits",
        "--out": "metrics.json to write",
    },
    many=("seeds",),
)
def summarise_seeds(a: argparse.Namespace) -> None:
    """Score a method over its seeds."""
    from speechprompt.evaluation.scores import describe
    from speechprompt.evaluation.summaries import write_summary

    log(describe(write_summary(a.out, a.seeds, [a.floor])))


@verb(
    files={
        "seed": "folder of the seed whose prompt is published",
        "--summary": "metrics.json over the seeds",
        "--out": "one-line score to write; the rest goes beside it",
    },
)
def publish_task(a: argparse.Namespace) -> None:
    """Publish a prompt, its predictions, the scores over the seeds, and the one-line score."""
    from speechprompt.evaluation.scores import describe
    from speechprompt.evaluation.summaries import publish

    log(describe(publish(a.seed, a.summary, a.out)))


@verb(
    files={"metrics": "metrics.json of every task and method", "--out": "table to write, .md"},
    many=("metrics",),
    options={
        "--published": {
            "type": json.loads,
            "default": {},
            "help": "JSON: published percentages by task and method",
        }
    },
)
def write_table(a: argparse.Namespace) -> None:
    """Write the table of results, as Markdown and beside it as Parquet."""
    from speechprompt.report.results_table import write_table

    write_table(a.metrics, a.out, a.out.with_suffix(".parquet"), a.published)


@verb(
    files={"curve": "learning curve", "--out": "picture to write"},
    options={"--title": {"required": True, "help": "title of the picture"}},
)
def plot_curve(a: argparse.Namespace) -> None:
    """Draw the learning curve of a training."""
    from speechprompt.report.pictures import plot_learning_curve

    plot_learning_curve(a.curve, a.out, a.title)


@verb(
    files={"predictions": "predictions of a classification", "--out": "picture to write"},
    options={"--title": {"required": True, "help": "title of the picture"}},
)
def plot_confusion(a: argparse.Namespace) -> None:
    """Draw the confusion matrix of a classification."""
    from speechprompt.report.pictures import plot_confusion_matrix

    plot_confusion_matrix(a.predictions, a.out, a.title)


@verb(
    files={
        "predictions": "predictions files of one task, of any methods and seeds",
        "--out": "picture to write; the numbers go beside it as Parquet",
    },
    many=("predictions",),
    options={"--title": {"required": True, "help": "title of the picture"}},
)
def plot_error_by_length(a: argparse.Namespace) -> None:
    """Draw the character error rate against the length of the reference, by method."""
    from speechprompt.evaluation.error_by_length import error_by_length
    from speechprompt.report.pictures import plot_error_by_length
    from speechprompt.storage.parquet import write_parquet

    table = error_by_length(a.predictions)
    write_parquet(a.out.with_suffix(".parquet"), table)
    plot_error_by_length(table, a.out, a.title)


@verb(
    files={
        "index": "index.json of a split",
        "--out": "picture to write; the numbers go beside it as Parquet",
    },
    options={"--title": {"required": True, "help": "title of the picture"}},
)
def plot_unit_statistics(a: argparse.Namespace) -> None:
    """Count how often units occur and how long they last, and draw it."""
    from speechprompt.report.pictures import plot_unit_statistics
    from speechprompt.storage.parquet import write_parquet
    from speechprompt.units.statistics import unit_statistics

    table = unit_statistics(a.index)
    write_parquet(a.out.with_suffix(".parquet"), table)
    plot_unit_statistics(table, a.out, a.title)


@verb(
    files={
        "codebook": "codebook",
        "--statistics": "Parquet file of plot-unit-statistics",
        "--out": "picture to write",
    },
    options={"--title": {"required": True, "help": "title of the picture"}},
)
def plot_codebook(a: argparse.Namespace) -> None:
    """Draw a map of a codebook's centroids."""
    from speechprompt.report.pictures import plot_codebook
    from speechprompt.storage.parquet import read_parquet
    from speechprompt.units.codebook import load_codebook

    statistics = read_parquet(a.statistics)
    plot_codebook(load_codebook(a.codebook).centroids, statistics, a.out, a.title)


@verb(
    files={
        "metrics": "metrics.json of every training of the sweep",
        "--out": "table to write, .parquet; pictures go beside it",
    },
    many=("metrics",),
    options={
        "--points": {"type": json.loads, "required": True, "help": "JSON: settings of each"},
        "--title": {"required": True, "help": "title of the pictures"},
    },
)
def gather_sweep(a: argparse.Namespace) -> None:
    """Gather a sweep's scores into one table and draw them."""
    from speechprompt.report import sweep
    from speechprompt.storage.parquet import write_parquet

    table = sweep.gather_sweep(a.metrics, a.points)
    write_parquet(a.out, table)
    for kind in ("parameters", "utterances", "choice"):
        draw = getattr(sweep, f"plot_by_{kind}")
        draw(table, a.out.with_name(f"by_{kind}.png"), a.title)


@verb(
    files={"results": "folder of the results", "--out": "page to write, .html"},
    options={"--setup": {"type": json.loads, "required": True, "help": "JSON: the configuration"}},
)
def write_overview(a: argparse.Namespace) -> None:
    """Write the overview: one page of all results, pictures, configuration and versions."""
    from speechprompt.report.overview import write_overview

    write_overview(a.results, a.setup, a.out)


@verb(
    files={
        "predictions": "predictions files of disjoint utterances",
        "--against": "others' predictions files of the same utterances",
    },
    many=("predictions", "--against"),
    optional=("--against",),
)
def pool_scores(a: argparse.Namespace) -> None:
    """Print the main metric over several predictions files together, such as speakers left out."""
    from speechprompt.evaluation.metrics import in_percent
    from speechprompt.evaluation.pooling import pool_predictions, pooled_gain

    def told(score: Score) -> str:
        return f"{in_percent(score.value, score.interval, ' %')} of {score.n}"

    print(told(pool_predictions(a.predictions)))
    if a.against:
        print(f"against: {told(pool_predictions(a.against))}")
        print(f"gain:    {told(pooled_gain(a.predictions, a.against))}")


def write_scores(a: argparse.Namespace, splits, labels, described, details, hashes) -> None:
    """Write what a trained model answers in every split and how good that is, and say so."""
    from speechprompt.evaluation.predictions import write_predictions
    from speechprompt.evaluation.scores import describe, write_metrics

    method = described["method"]
    about = {"task_type": labels.type, "columns": labels.columns, "method": method}
    write_predictions(a.predictions, splits, **about)
    metrics = write_metrics(
        a.metrics,
        [a.predictions],
        task=a.name,
        method=method,
        baselines=[a.floor] if a.floor else [],
        trainable_parameters=described["trainable_parameters"],
        seeds=[described["seed"]],
        details=details,
        hashes=hashes,
    )
    log(describe(metrics))


def _write_baseline(a: argparse.Namespace, scored, answers, method: str, details) -> None:
    from speechprompt.evaluation.predictions import write_predictions
    from speechprompt.evaluation.scores import write_metrics

    rows = {split: _rows(examples, *answers[split]) for split, examples in scored.items()}
    write_predictions(a.predictions, rows, task_type=a.type, columns=a.labels, method=method)
    write_metrics(a.metrics, [a.predictions], task=a.name, method=method, details=details)


def _split(index: Path) -> str:
    from speechprompt.storage.files import read_json

    return read_json(index)["split"]


def _rows(examples, answers, scores) -> dict:
    from speechprompt.evaluation.predictions import mark_repeats

    return {
        "utt_id": examples.utt_ids,
        "reference": examples.references,
        "prediction": answers,
        "score": scores,
        "is_repeat": mark_repeats(examples.units, examples.references),
    }
