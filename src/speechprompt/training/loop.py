"""The training loop that pre-training and prompt tuning share: Adam, early stopping, resumption.

All randomness follows from the seed and the number of the epoch or update, so that a killed
training resumes to the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from speechprompt.errors import ConfigError
from speechprompt.runtime.progress import log, progress
from speechprompt.training.checkpoint import Checkpoint
from speechprompt.training.schedule import Schedule, learning_rate

__all__ = ["CurvePoint", "Fit", "Sums", "curve_table", "digest", "fit"]


class Sums(NamedTuple):
    """Of one batch: summed loss in nats, weight of its tokens, right answers, answers."""

    loss: float
    tokens: float
    right: int
    answers: int

    @classmethod
    def of(cls, parts: Sequence[Sums]) -> Sums:
        """All of several batches together."""
        return cls(*(sum(values) for values in zip(*parts, strict=True)))


class CurvePoint(NamedTuple):
    """One split after one epoch; loss in nats per token."""

    epoch: int
    split: str
    loss: float
    accuracy: float
    lr: float


@dataclass(frozen=True)
class Fit:
    """How a training ended.

    Attributes:
        best_epoch: the epoch whose parameters were kept, from 1.
        epochs, updates: how many there were.
        best: valid loss and accuracy after the best epoch.
        curve: train and valid after every epoch.
    """

    best_epoch: int
    epochs: int
    updates: int
    best: CurvePoint
    curve: list[CurvePoint]


def fit(
    parameters: Mapping[str, Tensor],
    *,
    batches: Callable[[int], Sequence[Sequence[int]]],
    backward: Callable[[Sequence[int], int], Sums],
    evaluate: Callable[[], Sums],
    seed: int,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    clip: float,
    schedule: Schedule,
    warmup: int,
    max_epochs: int,
    patience: int,
    checkpoint_path: str | Path | None,
    checkpoint_seconds: float,
    fingerprint: str,
) -> Fit:
    """Train until the loss on the valid utterances stops falling; leave the best parameters.

    Args:
        parameters: what is trained, by name.
        batches: the batches (indices) of an epoch; epoch 0 tells the updates per epoch.
        backward: adds the gradient of a batch's summed loss, given the batch and the update's seed.
        evaluate: sums over the valid utterances.
        seed: of this training.
        lr, betas, weight_decay: of AdamW, which is Adam without weight decay.
        clip: largest norm of the gradient; 0 for none.
        schedule, warmup: see :func:`~speechprompt.training.schedule.learning_rate`; in updates.
        max_epochs, patience: at most so many epochs, and so many without a better loss.
        checkpoint_path, checkpoint_seconds, fingerprint: see :class:`Checkpoint`; deleting the
            file is left to the caller, who has outputs to write first.

    Raises:
        ConfigError: training diverged from the start.
    """
    optimiser = torch.optim.AdamW(
        parameters.values(), lr=lr, betas=betas, weight_decay=weight_decay, fused=True
    )
    checkpoint = Checkpoint(checkpoint_path, fingerprint, parameters, optimiser, checkpoint_seconds)
    state = checkpoint.load() or {
        "epoch": 0,
        "done": 0,  # batches of this epoch
        "updates": 0,
        "sums": Sums(0.0, 0, 0, 0),
        "best_loss": float("inf"),
        "best_epoch": 0,
        "curve": [],
    }
    total = max_epochs * len(batches(0))
    while state["epoch"] < max_epochs and state["epoch"] - state["best_epoch"] < patience:
        todo = batches(state["epoch"])[state["done"] :]
        rate = lr
        for batch in progress(todo, f"epoch {state['epoch'] + 1}", len(todo), "update"):
            rate = learning_rate(schedule, lr, state["updates"], warmup, total)
            optimiser.zero_grad(set_to_none=True)
            sums = backward(batch, _mix(seed, state["updates"]))
            _step(optimiser, parameters, rate, clip, sums.tokens)
            state["sums"] = [a + b for a, b in zip(state["sums"], sums, strict=True)]
            state["done"] += 1
            state["updates"] += 1
            checkpoint.save(state)
        _finish_epoch(state, Sums(*state["sums"]), evaluate(), rate)
        if state["best_epoch"] == state["epoch"]:
            checkpoint.keep_best()
        checkpoint.save(state)
    if not state["best_epoch"]:
        raise ConfigError(f"training: the valid loss was never finite; lower lr, now {lr}")
    checkpoint.restore_best()
    curve = [CurvePoint(*point) for point in state["curve"]]
    best = curve[2 * state["best_epoch"] - 1]
    return Fit(state["best_epoch"], state["epoch"], state["updates"], best, curve)


def curve_table(
    curve: Sequence[CurvePoint], columns: Sequence[str] = CurvePoint._fields
) -> pa.Table:
    """Learning curve as a table, by default of every column."""
    types = {"epoch": pa.int32(), "split": pa.string()}
    return pa.table(
        {
            name: pa.array([getattr(point, name) for point in curve], types.get(name, pa.float64()))
            for name in columns
        }
    )


def digest(settings: Mapping[str, Any], arrays: Sequence[Any] = ()) -> str:
    """Fingerprint of settings (JSON values) and of sequences of integers."""
    result = hashlib.sha256(json.dumps(settings, sort_keys=True, default=list).encode())
    for array in arrays:
        data = np.asarray(array, np.int64)
        result.update(len(data).to_bytes(8) + data.tobytes())
    return result.hexdigest()


def _step(
    optimiser: torch.optim.Optimizer,
    parameters: Mapping[str, Tensor],
    rate: float,
    clip: float,
    tokens: float,
) -> None:
    # Parameters without influence, such as input rows that no layer sees, have no gradient.
    trained = [p for p in parameters.values() if p.grad is not None]
    for parameter in trained:
        parameter.grad /= tokens
    if clip:
        torch.nn.utils.clip_grad_norm_(trained, clip)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()


def _finish_epoch(state: dict[str, Any], train: Sums, valid: Sums, rate: float) -> None:
    epoch = state["epoch"] + 1
    points = [
        CurvePoint(epoch, split, s.loss / s.tokens, s.right / max(1, s.answers), rate)
        for split, s in (("train", train), ("valid", valid))
    ]
    log(f"epoch {epoch}: " + "; ".join(_told(point, train.answers) for point in points))
    state |= {"epoch": epoch, "done": 0, "sums": Sums(0.0, 0, 0, 0)}
    state["curve"] = [*state["curve"], *points]
    if points[1].loss < state["best_loss"]:
        state |= {"best_loss": points[1].loss, "best_epoch": epoch}


def _told(point: CurvePoint, answers: int) -> str:
    accuracy = f", accuracy {point.accuracy:.4f}" if answers else ""
    return f"{point.split} loss {point.loss:.4f}{accuracy}"


def _mix(seed: int, number: int) -> int:
    """A seed for one update, below 2^63."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)
