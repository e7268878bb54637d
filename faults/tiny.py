"""A finished run so small that a stage takes a fraction of a second."""

import json
import shlex
import shutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from faults.trial import Process, Stage
from speechprompt.cli.verb import find
from speechprompt.cli.verbs import VERBS

__all__ = ["RATE", "STAGES", "TASK", "Tiny", "import_everything", "make", "tone"]

RATE = 16_000
SPLITS = {"train": 16, "valid": 4, "test": 6}
TASK, SEED = "results/ks", "results/ks/prompt/seed-1"
CODEBOOK, LM = "results/codebooks/km8.safetensors", "results/lm/tiny/model.safetensors"
MFCC = {"kind": "mfcc"}
WRITTEN = ("--out", "--curve", "--predictions", "--metrics")
# What every verb that has the option is given.
COMMON = {
    "--seed": ["--seed", "1"],
    "--compute-threads": ["--compute-threads", "1"],
    "--device": ["--device", "cpu"],
}
TRAINING = {"max_epochs": 2, "warmup": 1}
LM_SETTINGS = {
    **{"codebook": "km8", "corpora": ["mine"], "layers": 1, "heads": 2, "dim": 16, "ffn": 32},
    **{"max_epochs": 2, "warmup": 1, "valid_share": 0.2, "pretraining_tasks": None},
}
TASK_SETTINGS = {"corpus": "mine", "lm": "tiny", "prompt": {"length": 2}, "training": TRAINING}


def _manifest(split: str) -> str:
    return f"results/manifests/mine/{split}.parquet"


def _part(kind: str, split: str) -> str:
    return f"results/{kind}/{split}/part.parquet"


def _index(split: str) -> str:
    return f"results/units/{split}/index.json"


def _stages() -> dict[str, Stage]:
    """All stages, in the order data flows."""
    baseline, units = f"{TASK}/baseline/ngram", f"--train {_index('train')} --dev {_index('valid')}"
    scored, prompt = f"--scored {_index('test')}", f"{SEED}/prompt.safetensors"
    features, metrics = _part("features", "train"), f"{TASK}/prompt/metrics.json"
    labels, lm, task, mfcc = map(_quoted, (["label"], LM_SETTINGS, TASK_SETTINGS, MFCC))
    manifests = "results/manifests/mine"
    shown, fold = "results/table", "results/manifests/mine/fold"
    listed = [
        _stage(
            f"prepare-csv --table corpus/corpus.csv --max-rejected 0 --out {manifests}",
            *(_manifest(split) for split in (*SPLITS, "rejects")),
        ),
        *(
            _stage(
                f"extract-features --manifest {_manifest(split)} --encoder {mfcc}"
                f" --out {_part('features', split)}",
                of=split,
            )
            for split in SPLITS
        ),
        _stage(f"sample-frames {features} --frames 300 --out results/sample.parquet"),
        _stage(f"fit-codebook --sample results/sample.parquet --n-units 8 --out {CODEBOOK}"),
        *(
            _stage(
                f"quantize-units --features {_part('features', split)} --codebook {CODEBOOK}"
                f" --manifest {_manifest(split)} --deduplicate true --out {_part('units', split)}",
                of=split,
            )
            for split in SPLITS
        ),
        *(
            _stage(
                f"gather-units {_part('units', split)} --manifest {_manifest(split)}"
                f" --corpus mine --split {split} --out {_index(split)}",
                of=split,
            )
            for split in SPLITS
        ),
        _stage(
            f"pretrain-unit-lm {_index('train')} --settings {lm}"
            f" --out {LM} --curve results/lm/tiny/curve.parquet"
        ),
        _stage(
            f"fit-ngram-baseline {units} {scored} --name ks --type classification --labels {labels}"
            f" --predictions {baseline}/predictions.parquet --metrics {baseline}/metrics.json"
        ),
        _stage(
            f"train-prompt {units} --unit-lm {LM} --name ks --settings {task}"
            f" --out {prompt} --curve {SEED}/curve.parquet"
        ),
        _stage(
            f"score-prompt {prompt} --name ks --unit-lm {LM} {scored} --settings {{}}"
            f" --baselines {baseline}/predictions.parquet"
            f" --predictions {SEED}/predictions.parquet --metrics {SEED}/metrics.json"
        ),
        _stage(
            f"summarise-seeds {SEED} --baselines {baseline}/predictions.parquet --out {metrics}"
        ),
        _stage(
            f"take-fold {' '.join(map(_manifest, SPLITS))} --fold 1 --folds 2 --out {fold}",
            *(f"{fold}/{split}.parquet" for split in SPLITS),
        ),
        _stage(
            f"take-units {' '.join(map(_index, SPLITS))} --manifest {fold}/test.parquet"
            " --out results/units/fold/test.parquet"
        ),
        _stage(
            f"pool-folds {SEED} --name ks"
            f" --predictions {TASK}/pooled/predictions.parquet"
            f" --metrics {TASK}/pooled/metrics.json"
        ),
        _stage(f"finish-task {prompt} --out {TASK}/prompt.safetensors", of="prompt"),
        _stage(f"finish-task {metrics} --out {TASK}/acc.txt", of="score"),
        _stage(
            f"describe-model {prompt} --name ks --unit-lm {LM} --codebook {CODEBOOK}"
            f" --encoder {mfcc} --deduplicate true --settings {{}} --out {TASK}/model.json"
        ),
        _stage(f"write-table {metrics} --out {shown}.md", f"{shown}.md", f"{shown}.parquet"),
    ]
    return {stage.name: stage for stage in listed}


def _quoted(value: Any) -> str:
    return shlex.quote(json.dumps(value))


def _stage(line: str, *outputs: str, of: str = "") -> Stage:
    """A stage, named after its verb and its split; its outputs are those that options name."""
    words = shlex.split(line)
    verb = words[0]
    named = [words[i + 1] for i, word in enumerate(words) if word in WRITTEN]
    for option, given in COMMON.items():
        words += given if option in _options(verb) else []
    return Stage(f"{verb} {of}".strip(), words, outputs or named)


def _options(verb: str) -> set[str]:
    return {word.partition("=")[0] for word in VERBS[verb].arguments}


STAGES = _stages()


@dataclass(frozen=True)
class Tiny:
    """The finished run, and the content of its files by their names."""

    folder: Path
    content: dict[str, bytes]

    def copy(self, place: Path, *, without: Stage | None = None) -> Path:
        """Copy the run, as it was before a stage wrote its files."""
        shutil.copytree(self.folder, place, dirs_exist_ok=True)
        for name in without.outputs if without else ():
            (place / name).unlink()
        return place


def import_everything() -> None:
    """Import what the verbs need, so that forked processes start at once."""
    for verb in VERBS.values():
        for function in verb.functions:
            find(function)
    for name in ("torch._dynamo", "sklearn.cluster", "sklearn.linear_model", "threadpoolctl"):
        import_module(name)


def make(folder: Path) -> Tiny:
    """Make the run.

    Raises:
        RuntimeError: a stage fails.
    """
    record(folder / "corpus")
    for name, stage in STAGES.items():
        process = Process(folder, stage.words).start().wait()
        if process.status != 0:
            raise RuntimeError(f"{name}: {process.said}")
    paths = (path for path in folder.rglob("*") if path.is_file())
    return Tiny(folder, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})


def tone(number: int) -> np.ndarray:
    """A tone in noise, another for every number; odd ones are higher."""
    rng = np.random.default_rng(number)
    time = np.arange(RATE * (25 + number % 10) // 100) / RATE
    wave = np.sin(2 * np.pi * (300 + 900 * (number % 2) + 20 * number) * time)
    return (0.3 * wave + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


def record(folder: Path) -> None:
    """Write the recordings and their table."""
    rows, number = ["path,split,speaker,label"], 0
    for split, count in SPLITS.items():
        for _ in range(count):
            path = folder / "audio" / f"{number:03d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(number), RATE, subtype="PCM_16")
            rows.append(f"audio/{path.name},{split},s{number % 3},{('no', 'yes')[number % 2]}")
            number += 1
    (folder / "corpus.csv").write_text("\n".join(rows) + "\n")
