"""Verbs that train: encoder, unit LM and prompt."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from speechprompt.cli.verb import verb
from speechprompt.config.models import HubertPretraining, UnitLmSettings
from speechprompt.config.tasks import Task
from speechprompt.errors import ConfigError

if TYPE_CHECKING:
    from speechprompt.training.job import Computation, TrainingFiles

NAME = {"--name": {"required": True, "help": "name of the task"}}


@verb(
    files={
        "units": "index.json of each train split whose units are predicted",
        "--heard": "manifest of the audio that is heard for each, in the same order",
        "--start-from": "model of the same shape to go on from",
        "--out": "encoder to write",
        "--curve": "learning curve to write",
    },
    many=("units", "--heard"),
    optional=("--start-from",),
    settings=HubertPretraining,
    seed=True,
    compute=True,
)
def pretrain_encoder(a: argparse.Namespace, pretraining: HubertPretraining) -> None:
    """Pre-train a HuBERT on unlabelled audio."""
    from speechprompt.corpora.manifest import read_root
    from speechprompt.pretraining.hubert import pretrain_hubert

    if len(a.units) != len(a.heard):
        raise ConfigError(f"--heard: expected {len(a.units)} manifests, found {len(a.heard)}")
    pretrain_hubert(
        pretraining,
        dict(zip(a.units, map(read_root, a.heard), strict=True)),
        training_files(a),
        computation=computation(a),
        start=a.start_from,
        seed=a.seed,
    )


@verb(
    files={
        "units": "index.json of each train split to read",
        "--out": "unit LM to write",
        "--curve": "learning curve to write",
    },
    many=("units",),
    settings=UnitLmSettings,
    seed=True,
    compute=True,
)
def pretrain_unit_lm(a: argparse.Namespace, lm: UnitLmSettings) -> None:
    """Pre-train a unit LM on the units of train splits."""
    from speechprompt.lm.pretraining import pretrain_unit_lm

    pretrain_unit_lm(lm, a.units, training_files(a), computation=computation(a), seed=a.seed)


@verb(
    files={
        "--train": "index.json of the train split",
        "--dev": "index.json of the split that decides when to stop",
        "--unit-lm": "unit LM",
        "--out": "prompt to write",
        "--curve": "learning curve to write",
    },
    options=NAME,
    settings=Task,
    seed=True,
    compute=True,
)
def train_prompt(a: argparse.Namespace, task: Task) -> None:
    """Train a task's prompt on a frozen unit LM."""
    from speechprompt.prompting.training import TaskData, train_prompt

    train_prompt(
        task,
        TaskData.read(a.train, a.dev, task),
        a.unit_lm,
        training_files(a),
        computation=computation(a),
        seed=a.seed,
        metadata={"task": a.name},
    )


def training_files(a: argparse.Namespace) -> TrainingFiles:
    """The files of a training; no rule declares the checkpoint, which is beside the model."""
    from speechprompt.training.job import TrainingFiles

    checkpoint = a.out.with_name(f".{a.out.stem}.checkpoint.safetensors")
    return TrainingFiles(model=a.out, curve=a.curve, checkpoint=checkpoint)


def computation(a: argparse.Namespace) -> Computation:
    """Device and threads of a training."""
    from speechprompt.training.job import Computation

    return Computation(a.device, a.compute_threads)
