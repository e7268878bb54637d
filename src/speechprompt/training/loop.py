"""The loop that all trainings share: AdamW, early stopping, resumption.

All randomness follows from the seed and the number of the epoch or update, so that a killed
training resumes to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from speechprompt.config.training import LoopSettings
from speechprompt.errors import ConfigError
from speechprompt.runtime.progress import log, progress
from speechprompt.training.checkpoint import Checkpoint
from speechprompt.training.job import TrainingFiles
from speechprompt.training.result import CurvePoint, TrainingResult
from speechprompt.training.schedule import learning_rate

__all__ = ["Sums", "Trainable", "fit"]


class Sums(NamedTuple):
    """Sums over one batch, as numbers or as tensors that wait on the device until they are read.

    Attributes:
        loss: loss in nats.
        weight: number of the predicted tokens, or the sum of their weights.
        n_correct: number of correct answers; an answer is all that one utterance is to give.
        n_answers: number of all answers.
    """

    loss: float | Tensor
    weight: float
    n_correct: int | Tensor
    n_answers: int

    @classmethod
    def over(cls, batches: Sequence[Sums]) -> Sums:
        """The sums over several batches."""
        sums: list[Any] = [sum(values) for values in zip(*batches, strict=True)]
        return cls(*sums)

    def read(self) -> Sums:
        """The sums as numbers, for which the host waits until the device has computed them."""
        numbers: list[Any] = [v.item() if isinstance(v, Tensor) else v for v in self]
        return Sums(*numbers)


class Trainable(Protocol):
    """What the loop trains: a model with its data."""

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What is trained, by name."""

    def batches(self, epoch: int) -> Sequence[Any]:
        """The batches of an epoch, from 0, as indices; epoch 0 tells how many an epoch has."""

    def backward(self, batch: Any, seed: int) -> Sums:
        """Add up the gradient of a batch's summed loss; ``seed`` is that of this update."""

    def evaluate(self) -> Sums:
        """Sums over the held-out utterances."""


def fit(
    trained: Trainable,
    settings: LoopSettings,
    files: TrainingFiles,
    *,
    seed: int,
    fingerprint: str,
    rates: Mapping[str, float] | None = None,
    initial: Sequence[CurvePoint] = (),
    read: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> TrainingResult:
    """Train until the loss on held-out utterances stops falling; leave the best parameters.

    Args:
        trained: the model with its data.
        settings: optimiser, schedule, and when to stop.
        files: where the checkpoint is; it stays until the caller has written the model.
        seed: seed of the updates.
        fingerprint: hash of all that the training depends on; a checkpoint with another is ignored.
        rates: peak learning rates of parameters that have one of their own, by name.
        initial: train and valid before the first epoch, whose parameters count as those of any
            epoch do; none where they are random.
        read: turns batches, in order, into what ``backward`` takes; indices may be enough for it.

    Raises:
        ConfigError: training diverged from the start.
    """
    parameters = trained.parameters
    peaks = dict.fromkeys(parameters, settings.lr) | dict(rates or {})
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for name, p in parameters.items() if peaks[name] == peak], "peak": peak}
            for peak in dict.fromkeys(peaks.values())
        ],
        lr=settings.lr,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    checkpoint = Checkpoint(
        files.checkpoint, fingerprint, parameters, optimiser, files.checkpoint_seconds
    )
    state = checkpoint.load() or {
        "epoch": 0,
        "done": 0,  # batches of this epoch
        "updates": 0,
        "sums": Sums(0.0, 0, 0, 0),
        "best_loss": initial[1].loss if initial else float("inf"),
        "best_epoch": 0,
        "curve": list(initial),
    }
    total = settings.max_epochs * len(trained.batches(0))

    def rate_of(group: Mapping[str, Any], update: int) -> float:
        return learning_rate(settings.schedule, group["peak"], update, settings.warmup, total)

    while not _is_over(state, settings):
        todo = trained.batches(state["epoch"])[state["done"] :]
        for batch in progress(read(todo), f"epoch {state['epoch'] + 1}", len(todo), "update"):
            for group in optimiser.param_groups:
                group["lr"] = rate_of(group, state["updates"])
            optimiser.zero_grad(set_to_none=True)
            sums = trained.backward(batch, _update_seed(seed, state["updates"]))
            _step(optimiser, parameters, settings.clip, sums.weight)
            state["sums"] = Sums.over([Sums(*state["sums"]), sums])
            state["done"] += 1
            state["updates"] += 1
            if checkpoint.is_due():
                state["sums"] = state["sums"].read()
                checkpoint.save(state)
        # A checkpoint may be that of the epoch's last update, so that this run has made none.
        rate = rate_of(optimiser.param_groups[0], state["updates"] - 1)
        _finish_epoch(state, Sums(*state["sums"]).read(), trained.evaluate().read(), rate)
        if state["best_epoch"] == state["epoch"]:
            checkpoint.keep_best()
        if checkpoint.is_due():
            checkpoint.save(state)
    if not np.isfinite(state["best_loss"]):
        raise ConfigError(f"training: the valid loss was never finite; lower lr, now {settings.lr}")
    checkpoint.restore_best()
    return _result(state, parameters)


def _is_over(state: Mapping[str, Any], settings: LoopSettings) -> bool:
    waited = state["epoch"] - state["best_epoch"]
    return state["epoch"] >= settings.max_epochs or waited >= settings.patience


def _step(
    optimiser: torch.optim.Optimizer,
    parameters: Mapping[str, Tensor],
    clip: float,
    weight: float,
) -> None:
    trained = []
    for parameter in parameters.values():
        # Parameters that have no influence, such as input rows that no layer sees, have none.
        if parameter.grad is not None:
            parameter.grad /= weight
            trained.append(parameter)
    if clip:
        torch.nn.utils.clip_grad_norm_(trained, clip)
    optimiser.step()


def first_points(train: Sums, valid: Sums) -> list[CurvePoint]:
    """The curve before the first epoch, for :func:`fit`."""
    return _points(0, train, valid, 0.0)


def _points(epoch: int, train: Sums, valid: Sums, rate: float) -> list[CurvePoint]:
    points = [
        CurvePoint(
            epoch, split, float(s.loss / s.weight), float(s.n_correct / max(1, s.n_answers)), rate
        )
        for split, s in (("train", train), ("valid", valid))
    ]
    log(f"epoch {epoch}: " + "; ".join(map(_told, points, (train.n_answers, valid.n_answers))))
    return points


def _finish_epoch(state: dict[str, Any], train: Sums, valid: Sums, rate: float) -> None:
    epoch = state["epoch"] + 1
    points = _points(epoch, train, valid, rate)
    state |= {"epoch": epoch, "done": 0, "sums": Sums(0.0, 0, 0, 0)}
    state["curve"] = [*state["curve"], *points]
    if points[1].loss < state["best_loss"]:
        state |= {"best_loss": points[1].loss, "best_epoch": epoch}


def _told(point: CurvePoint, n_answers: int) -> str:
    accuracy = f", accuracy {point.accuracy:.4f}" if n_answers else ""
    return f"{point.split} loss {point.loss:.4f}{accuracy}"


def _result(state: Mapping[str, Any], parameters: Mapping[str, Tensor]) -> TrainingResult:
    curve = [CurvePoint(*point) for point in state["curve"]]
    best = next(p for p in curve if (p.epoch, p.split) == (state["best_epoch"], "valid"))
    return TrainingResult(
        best_epoch=state["best_epoch"],
        epochs=state["epoch"],
        updates=state["updates"],
        valid_loss=best.loss,
        valid_accuracy=best.accuracy,
        trainable_parameters=sum(p.numel() for p in parameters.values()),
        curve=curve,
    )


def _update_seed(seed: int, number: int) -> int:
    """The seed of one update, below 2^63."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)
