"""Verbs that train: encoder, unit LM and prompt."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechprompt.cli.verb import verb
from speechprompt.config.models import HubertPretraining, UnitLmSettings
from speechprompt.config.tasks import Task
from speechprompt.errors import ConfigError

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
        dict(zip(a.units, map(read_root, a.heard), strict=True)),
        out=a.out,
        curve_path=a.curve,
        checkpoint_path=checkpoint_beside(a.out),
        start_path=a.start_from,
        seed=a.seed,
        **pretraining.model_dump(exclude={"targets", "corpora", "target_corpora", "start"}),
        device=a.device,
        compute_threads=a.compute_threads,
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
def pretrain_lm(a: argparse.Namespace, lm: UnitLmSettings) -> None:
    """Pre-train a unit LM on the units of train splits."""
    from speechprompt.lm.pretraining import pretrain_unit_lm

    pretrain_unit_lm(
        a.units,
        lm_path=a.out,
        curve_path=a.curve,
        checkpoint_path=checkpoint_beside(a.out),
        seed=a.seed,
        **lm.model_dump(exclude={"kind", "codebook", "corpora"}),
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
    settings=Task,
    seed=True,
    compute=True,
)
def train_prompt(a: argparse.Namespace, task: Task) -> None:
    """Train a task's prompt on a frozen unit LM."""
    from speechprompt.prompting.training import train_prompt
    from speechprompt.storage.files import read_json
    from speechprompt.tasks.labels import read_examples, read_labels

    labels = read_labels(a.train, task.type, task.labels)
    train_prompt(
        read_examples(a.train, labels),
        read_examples(a.dev, labels),
        lm_path=a.unit_lm,
        codebook_sha256=read_json(a.train)["codebook_sha256"],
        n_labels=len(labels.names),
        allowed=labels.allowed,
        label_names=labels.names,
        prompt_path=a.out,
        curve_path=a.curve,
        checkpoint_path=checkpoint_beside(a.out),
        seed=a.seed,
        method=task.method,
        verbalizer=task.verbalizer,
        **task.prompt.model_dump(),
        **task.training.model_dump(),
        balance=task.balance,
        device=a.device,
        compute_threads=a.compute_threads,
        metadata={"task": a.name, "answers": labels.state()},
    )


def checkpoint_beside(out: Path) -> Path:
    """Resumable state beside the output, under a name that no rule declares."""
    return out.with_name(f".{out.stem}.checkpoint.safetensors")
