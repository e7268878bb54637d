"""Rot: a file of the run changes after it was written, and the next stage reads it."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from faults.tiny import CODEBOOK, LM, SEED, STAGES, TASK, Tiny
from faults.trial import SAME, Case, Process, Verdict, judge
from speechprompt.training.checkpoint import Checkpoint

__all__ = ["faults"]

FLIPS = 8
PROMPT = f"{SEED}/prompt.safetensors"
CHECKPOINT = f"{SEED}/.prompt.checkpoint.safetensors"
# Each artefact, and a stage that reads it.
READ = [
    ("results/manifests/mine/train.parquet", "extract-features train"),
    ("results/manifests/mine/test.parquet", "quantize-units test"),
    ("results/features/train/part.parquet", "sample-frames"),
    ("results/features/test/part.parquet", "quantize-units test"),
    ("results/sample.parquet", "fit-codebook"),
    (CODEBOOK, "quantize-units train"),
    (CODEBOOK, "describe-model"),
    ("results/units/train/part.parquet", "gather-units train"),
    ("results/units/train/part.parquet", "pretrain-unit-lm"),
    ("results/units/test/index.json", "score-prompt"),
    (LM, "train-prompt"),
    (LM, "score-prompt"),
    (PROMPT, "score-prompt"),
    (PROMPT, "finish-task prompt"),
    (PROMPT, "describe-model"),
    (f"{SEED}/predictions.parquet", "summarise-seeds"),
    (f"{SEED}/metrics.json", "summarise-seeds"),
    (f"{TASK}/baseline/ngram/predictions.parquet", "score-prompt"),
    (f"{TASK}/prompt/metrics.json", "write-table"),
]


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _clear(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(content)))
    stop = start + 64
    cleared = content[:start] + bytes(len(content[start:stop])) + content[stop:]
    return cleared if cleared != content else _flip(content, rng)


# What happens to a file.
DAMAGE: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    **{f"bit {number}": _flip for number in range(FLIPS)},
    "64 bytes cleared": _clear,
    "cut in half": lambda content, rng: content[: len(content) // 2],
    "emptied": lambda content, rng: b"",
    "a byte more": lambda content, rng: content + b"\0",
}


def faults(run: Tiny) -> Iterator[Case]:
    """Every kind of damage to every artefact."""
    for number, (path, stage) in enumerate(READ):
        for place, (name, damage) in enumerate(DAMAGE.items()):
            changed = damage(run.content[path], np.random.default_rng([number, place]))
            trial = partial(_read_damaged, run, path, changed, stage)
            yield Case(f"{path} for {stage}: {name}", trial)
    for number in range(FLIPS):
        yield Case(f"checkpoint: bit {number}", partial(_resume_damaged, run, number))


def _read_damaged(run: Tiny, path: str, changed: bytes, name: str, place: Path) -> Verdict:
    stage = STAGES[name]
    run.copy(place, without=stage)
    (place / path).write_bytes(changed)
    process = Process(place, stage.words).start().wait()
    return judge(process, stage, run.content, [Path(path).name])


def _resume_damaged(run: Tiny, number: int, place: Path) -> Verdict:
    """A damaged checkpoint is ignored with a message, and the training starts again."""
    stage = STAGES["train-prompt"]
    run.copy(place, without=stage)
    Process(place, stage.words, _die_after_a_checkpoint).start().wait()
    checkpoint = place / CHECKPOINT
    checkpoint.write_bytes(_flip(checkpoint.read_bytes(), np.random.default_rng(number)))
    process = Process(place, stage.words).start().wait()
    verdict = judge(process, stage, run.content)
    said = "damaged checkpoint ignored" in process.said
    return verdict if said or verdict.outcome != SAME else Verdict("silent", process.said)


def _die_after_a_checkpoint() -> None:
    """Write a checkpoint at every chance, and die after the first."""
    import os
    import signal

    save = Checkpoint.save

    def save_and_die(self: Checkpoint, state: dict) -> None:
        save(self, state)
        os.kill(os.getpid(), signal.SIGKILL)

    Checkpoint.is_due = lambda self: self.path is not None  # type: ignore[method-assign]
    Checkpoint.save = save_and_die  # type: ignore[method-assign]
