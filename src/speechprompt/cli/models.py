"""Verbs from the unit LM to the published score."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from speechprompt import config
from speechprompt.cli.verb import boolean, verb
from speechprompt.progress import log

NAME = {"--name": {"required": True, "help": "name of the task"}}


@verb(
    files={
        "units": "index.json of each train split to read",
        "--out": "unit LM to write",
        "--curve": "learning curve to write",
    },
    many=("units",),
    block=config.UnitLmSettings,
    seed=True,
    compute=True,
)
def pretrain_lm(a: argparse.Namespace, lm: config.UnitLmSettings) -> None:
    """Pre-train a unit LM on the units of train splits."""
    from speechprompt.lm.pretrain import pretrain_unit_lm

    pretrain_unit_lm(
        a.units,
        lm_path=a.out,
        curve_path=a.curve,
        checkpoint_path=_checkpoint(a.out),
        seed=a.seed,
        **lm.model_dump(exclude={"codebook", "corpora"}),
        device=a.device,
        compute_threads=a.compute_threads,
    )


@verb(
    files={
        "--train": "index.json of the train split",
        "--dev": "index.json of the split that decides when to stop",
        "--unit-lm": "unit LM",
        "--out": "prompt to write",
        "--curve": "learning curve to write",
    },
    options=NAME,
    block=config.Task,
    seed=True,
    compute=True,
)
def train_prompt(a: argparse.Namespace, task: config.Task) -> None:
    """Train a task's prompt on a frozen unit LM."""
    from speechprompt.files import read_json
    from speechprompt.tasks.labels import read_examples, read_label_space
    from speechprompt.train import train_prompt

    space = read_label_space(a.train, task.labels)
    train_prompt(
        read_examples(a.train, space),
        read_examples(a.dev, space),
        lm_path=a.unit_lm,
        codebook_sha256=read_json(a.train)["codebook_sha256"],
        n_labels=len(space.names),
        allowed=space.allowed,
        label_names=space.names,
        prompt_path=a.out,
        curve_path=a.curve,
        checkpoint_path=_checkpoint(a.out),
        seed=a.seed,
        method=task.method,
        verbalizer=task.verbalizer,
        **task.prompt.model_dump(),
        **task.training.model_dump(),
        balance=task.balance,
        device=a.device,
        compute_threads=a.compute_threads,
        metadata={"task": a.name, "columns": space.columns, "values": space.values},
    )


@verb(
    files={
        "--train": "index.json of the train split",
        "--dev": "index.json of the split that choices look at",
        "--scored": "index.json of each split to score, the main one last",
        "--predictions": "predictions to write",
        "--metrics": "metrics.json to write",
    },
    many=("--scored",),
    options=NAME
    | {
        "--labels": {"type": json.loads, "required": True, "help": "JSON list of label columns"},
        "--balance": {"type": boolean, "default": False, "help": "weight classes equally"},
    },
)
def fit_floor(a: argparse.Namespace) -> None:
    """Score the floor: logistic regression on unit 1-3-grams."""
    from speechprompt.evaluate import write_metrics, write_predictions
    from speechprompt.floor import fit_floor
    from speechprompt.tasks.labels import read_examples, read_label_space

    space = read_label_space(a.train, a.labels)
    train, dev = read_examples(a.train, space), read_examples(a.dev, space)
    scored = {_split(path): read_examples(path, space) for path in a.scored}
    floor = fit_floor(
        (train.units, [json.dumps(row) for row in train.labels]),
        (dev.units, [json.dumps(row) for row in dev.labels]),
        {split: examples.units for split, examples in scored.items()},
        balance=a.balance,
    )
    rows = {
        split: _rows(space, examples, map(json.loads, floor.answers[split]), floor.scores[split])
        for split, examples in scored.items()
    }
    write_predictions(a.predictions, rows, space.columns)
    write_metrics(
        a.metrics,
        a.predictions,
        task=a.name,
        method="floor",
        details={
            "model": "logistic regression on unit 1-3-grams",
            **floor.setting,
            "n_features": floor.n_features,
            "dev_accuracy": floor.dev_accuracy,
        },
    )


@verb(
    files={
        "prompt": "trained prompt",
        "--unit-lm": "unit LM",
        "--scored": "index.json of each split to score, the main one last",
        "--floor": "metrics.json of the floor, quoted beside the result",
        "--predictions": "predictions to write",
        "--metrics": "metrics.json to write",
    },
    many=("--scored",),
    options=NAME,
    compute=True,
)
def score_prompt(a: argparse.Namespace) -> None:
    """Answer the scored splits with a trained prompt and measure."""
    from speechprompt.decode import predict
    from speechprompt.evaluate import (
        describe,
        prompt_hashes,
        write_metrics,
        write_predictions,
    )
    from speechprompt.files import read_json, read_tensor_metadata
    from speechprompt.task_model import load_task_model
    from speechprompt.tasks.labels import LabelSpace, read_examples

    described = read_tensor_metadata(a.prompt)
    space = LabelSpace(tuple(described["columns"]), tuple(map(tuple, described["values"])))
    rows = {}
    for path in a.scored:
        examples = read_examples(path, space)
        codebook = read_json(path)["codebook_sha256"]
        task = load_task_model(a.prompt, a.unit_lm, codebook, device=a.device)
        answers = predict(task, examples.units)
        rows[_split(path)] = _rows(space, examples, answers.labels, answers.scores)
    write_predictions(a.predictions, rows, space.columns)
    metrics = write_metrics(
        a.metrics,
        a.predictions,
        task=a.name,
        method=described["method"],
        floors={"ngram_logistic_regression": a.floor},
        trainable_parameters=described["trainable_parameters"],
        seeds=[described["seed"]],
        details={"training": described["training"]},
        hashes=prompt_hashes(a.prompt, described),
    )
    log(describe(metrics))


@verb(
    files={
        "--curve": "learning curve",
        "--predictions": "predictions",
        "--out-curve": "picture to write",
        "--out-matrix": "picture to write",
    },
    options={"--title": {"required": True, "help": "title of both pictures"}},
)
def plot_training(a: argparse.Namespace) -> None:
    """Draw the learning curve and the confusion matrix."""
    from speechprompt.report import plot_confusion_matrix, plot_learning_curve

    plot_learning_curve(a.curve, a.out_curve, a.title)
    plot_confusion_matrix(a.predictions, a.out_matrix, a.title)


@verb(
    files={"seeds": "folder of each seed, the published one first", "--out": "the task's folder"},
    many=("seeds",),
)
def publish_task(a: argparse.Namespace) -> None:
    """Publish a method's first prompt, its scores over the seeds, and the one-line score."""
    from speechprompt.evaluate import describe, publish

    log(describe(publish(a.seeds, a.out)))


@verb(files={"predictions": "predictions files of disjoint utterances"}, many=("predictions",))
def pool_scores(a: argparse.Namespace) -> None:
    """Print the accuracy over several predictions files together, such as left-out speakers."""
    from speechprompt.evaluate import pool_predictions

    score = pool_predictions(a.predictions)
    low, high = (100 * bound for bound in score.interval)
    print(f"{100 * score.value:.2f} % [{low:.2f}, {high:.2f}] of {score.n}")


def _checkpoint(out: Path) -> Path:
    """Resumable state beside the output, under a name that no rule declares."""
    return out.with_name(f".{out.stem}.checkpoint.safetensors")


def _split(index: Path) -> str:
    from speechprompt.files import read_json

    return read_json(index)["split"]


def _rows(space, examples, answers, scores) -> dict:
    """Predictions of one split as label values."""
    from speechprompt.evaluate import mark_repeats

    references = [space.decode(row) for row in examples.labels]
    return {
        "utt_id": examples.utt_ids,
        "reference": references,
        "prediction": [space.decode(row) for row in answers],
        "score": scores,
        "is_repeat": mark_repeats(examples.units, [" ".join(row) for row in references]),
    }
