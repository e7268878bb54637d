"""Verbs of downstream models: training and scoring, from the audio itself."""

from __future__ import annotations

import argparse
import json

from speechprompt.cli.models import checkpoint_beside
from speechprompt.cli.results import ANSWERS, NAME, write_scores
from speechprompt.cli.verb import boolean, verb
from speechprompt.config.tasks import DownstreamSettings

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
    from speechprompt.downstream.training import train_downstream

    train_downstream(
        a.train,
        a.dev,
        encoder=a.encoder,
        task_type=a.type,
        columns=a.labels,
        out=a.out,
        curve_path=a.curve,
        checkpoint_path=checkpoint_beside(a.out),
        seed=a.seed,
        **settings.model_dump(),
        balance=a.balance,
        device=a.device,
        compute_threads=a.compute_threads,
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
    from speechprompt.downstream.artefact import load_downstream
    from speechprompt.downstream.decoding import answer
    from speechprompt.downstream.recordings import load_source, read_recordings
    from speechprompt.evaluation.predictions import mark_repeats
    from speechprompt.storage.hashes import sha256_file
    from speechprompt.tasks.labels import restore_labels

    source = load_source(a.encoder, a.device)
    model, described = load_downstream(a.model, source.encoder, a.device)
    labels = restore_labels(described["answers"])
    splits = {}
    for path in a.scored:
        recordings = read_recordings(path, labels, encode=False)
        answers = answer(model, source, recordings, description=path.stem)
        splits[path.stem] = {
            "utt_id": recordings.utt_ids,
            "reference": recordings.references,
            "prediction": [labels.decode(row) for row in answers.labels],
            "score": answers.scores,
            "is_repeat": mark_repeats(answers.audio, recordings.references),
        }
    details = {"training": described["training"], "layer_weights": described["layer_weights"]}
    hashes = {"encoder": described["encoder_sha256"], "model": sha256_file(a.model)}
    write_scores(a, splits, labels, described, details, hashes)
