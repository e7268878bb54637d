"""Verbs of downstream models: training and scoring, from the audio itself."""

from __future__ import annotations

import argparse
import json

from speechprompt.cli.models import computation, training_files
from speechprompt.cli.results import ANSWERS, NAME, score_files
from speechprompt.cli.verb import boolean, verb
from speechprompt.config.tasks import DownstreamSettings
from speechprompt.runtime.progress import log

ENCODER = {
    "--encoder": {
        "required": True,
        "metavar": "JSON",
        "type": json.loads,
        "help": "the frozen encoder's settings, such as "
        '{"kind": "hubert", "weights": "hubert.safetensors"}; all its layers are used',
    },
}


@verb(
    files={
        "--train": "manifest of the train split",
        "--dev": "manifest of the split that decides when to stop",
        "--out": "downstream model to write",
        "--curve": "learning curve to write",
    },
    options=NAME
    | ANSWERS
    | ENCODER
    | {
        "--balance": {
            "type": boolean,
            "default": False,
            "help": "sample the classes of train equally often",
        }
    },
    settings=DownstreamSettings,
    seed=True,
    compute=True,
)
def train_downstream(a: argparse.Namespace, settings: DownstreamSettings) -> None:
    """Train a downstream model on a learned sum of a frozen encoder's layers."""
    from speechprompt.downstream.training import DownstreamData, train_downstream

    train_downstream(
        settings,
        DownstreamData.read(a.train, a.dev, a.type, a.labels, a.balance),
        a.encoder,
        training_files(a),
        computation=computation(a),
        seed=a.seed,
        metadata={"task": a.name},
    )


@verb(
    files={
        "model": "trained downstream model",
        "--scored": "manifest of each split to score, the main one last",
        "--floor": "predictions of the floor on the same splits",
        "--predictions": "predictions to write",
        "--metrics": "metrics.json to write",
    },
    many=("--scored",),
    options=NAME | ENCODER,
    compute=True,
)
def score_downstream(a: argparse.Namespace) -> None:
    """Answer the scored splits with a downstream model and measure."""
    from speechprompt.evaluation.downstream_scores import score_downstream
    from speechprompt.evaluation.scores import describe

    metrics = score_downstream(
        a.name, a.model, a.encoder, a.scored, score_files(a), device=a.device
    )
    log(describe(metrics))
