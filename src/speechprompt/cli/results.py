"""Verbs from a trained prompt to scores, tables and pictures."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from speechprompt.cli.verb import boolean, verb
from speechprompt.config.tasks import DecodingSettings
from speechprompt.runtime.progress import log

if TYPE_CHECKING:
    from speechprompt.evaluation.metrics import Score
    from speechprompt.evaluation.scored_splits import ScoreFiles

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
def fit_ngram_baseline(a: argparse.Namespace) -> None:
    """Score the n-gram baseline of a classification: logistic regression on unit 1-3-grams."""
    from speechprompt.evaluation.ngram_baseline import fit_ngram_baseline
    from speechprompt.evaluation.scored_splits import BaselineData

    data = BaselineData.read(a.train, a.dev, a.scored, a.type, a.labels)
    fit_ngram_baseline(a.name, data, score_files(a), a.balance)


@verb(
    files=BASELINE,
    many=("--scored",),
    options=NAME | ANSWERS,
)
def choose_constant_baseline(a: argparse.Namespace) -> None:
    """Score the constant baseline of a generation: the best single answer, which needs no audio."""
    from speechprompt.evaluation.constant_baseline import choose_constant_baseline
    from speechprompt.evaluation.scored_splits import BaselineData

    data = BaselineData.read(a.train, a.dev, a.scored, a.type, a.labels)
    choose_constant_baseline(a.name, data, score_files(a))


@verb(
    files={
        "prompt": "trained prompt",
        "--unit-lm": "unit LM",
        "--floor": "predictions of the baseline on the same splits",
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
    from speechprompt.evaluation.prompt_scores import score_prompt
    from speechprompt.evaluation.scores import describe

    metrics = score_prompt(
        a.name, a.prompt, a.unit_lm, a.scored, decoding, score_files(a), device=a.device
    )
    log(describe(metrics))


@verb(
    files={
        "seeds": "folder of each seed, in order",
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
        "seed": "folder of the first seed of the task's method",
        "--summary": "metrics.json over the seeds",
        "--out": "file of the task's folder to write; its name says which",
    },
)
def finish_task(a: argparse.Namespace) -> None:
    """Write one file of a finished task: a copy of the first seed's, or the one-line score."""
    from speechprompt.evaluation.summaries import finish_task

    finish_task(a.seed, a.summary, a.out)


@verb(
    files={"metrics": "metrics.json of every task and method", "--out": "table to write, .md"},
    many=("metrics",),
    options={
        "--reported": {
            "type": json.loads,
            "default": {},
            "help": "JSON: percentages that the paper reports, by task and method",
        }
    },
)
def write_table(a: argparse.Namespace) -> None:
    """Write the table of results, as Markdown and beside it as Parquet."""
    from speechprompt.report.results_table import write_table

    write_table(a.metrics, a.out, a.out.with_suffix(".parquet"), a.reported)


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


def score_files(a: argparse.Namespace) -> ScoreFiles:
    """What a scoring writes, and the baseline's predictions where it has some."""
    from speechprompt.evaluation.scored_splits import ScoreFiles

    return ScoreFiles(a.predictions, a.metrics, baseline=getattr(a, "floor", None))
