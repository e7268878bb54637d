"""Training of a downstream model (FT-DM): the encoder is frozen and run again in every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechprompt.downstream.artefact import save_downstream
from speechprompt.downstream.heads import needed_frames
from speechprompt.downstream.model import DownstreamModel, ModelShape
from speechprompt.downstream.recordings import (
    FrameSource,
    Recordings,
    load_source,
    read_recordings,
    read_task_labels,
)
from speechprompt.errors import CorpusError
from speechprompt.runtime.device import resolve_device, set_compute_threads
from speechprompt.runtime.progress import log
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.parquet import write_parquet
from speechprompt.training.loop import Sums, curve_table, digest, fit
from speechprompt.training.sampling import draw_rows
from speechprompt.training.schedule import Schedule

__all__ = ["DownstreamResult", "length_batches", "train_downstream"]

_NO_INFLUENCE = (
    *("train", "valid", "encoder", "out"),
    *("curve_path", "checkpoint_path", "checkpoint_seconds", "metadata"),
)
# SUPERB's widths of the head, by whether the answer is generated.
HIDDEN = {False: 256, True: 1024}
# Batches drawn at a time, within which utterances are sorted by length.
POOL_BATCHES = 20


@dataclass(frozen=True)
class DownstreamResult:
    """How a training ended; losses are nats per label."""

    best_epoch: int
    epochs: int
    updates: int
    valid_loss: float
    valid_accuracy: float
    trainable_parameters: int


def train_downstream(
    train: str | Path,
    valid: str | Path,
    *,
    encoder: Mapping[str, Any],
    task_type: str,
    columns: Sequence[str],
    out: str | Path,
    curve_path: str | Path | None = None,
    checkpoint_path: str | Path | None = None,
    seed: int = 1,
    hidden: int | None = None,
    layers: int = 2,
    dropout: float = 0.2,
    normalize: bool = False,
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    clip: float = 1.0,
    schedule: Schedule = "constant",
    warmup: int = 0,
    batch_size: int = 32,
    max_epochs: int = 200,
    patience: int = 8,
    balance: bool = False,
    device: str = "cpu",
    compute_threads: int = 2,
    checkpoint_seconds: float = 30.0,
    metadata: Mapping[str, Any] | None = None,
) -> DownstreamResult:
    """Train on the audio of ``train``, stop by the loss on ``valid``, write the best model.

    The defaults are SUPERB's in s3prl: Adam at a constant 1e-4, gradients clipped to norm 1, 32
    utterances an update, 200,000 updates, the best by the dev metric. Here the dev *loss* decides,
    as for prompts, the number of passes is bounded, and representations are not masked (s3prl's
    SpecAugment of asr and sf).

    Args:
        train: manifest of the utterances to learn from.
        valid: manifest of those that decide when to stop and what to keep.
        encoder: settings of the frozen encoder, see :func:`~speechprompt.encoders.load_encoder`,
            and ``batch_seconds``, which it encodes at once. All its layers are used.
        task_type: classification, transcription or slot_filling.
        columns: the label columns.
        out: model.safetensors to write.
        curve_path: learning curve (epoch, split, loss, accuracy, lr) to write.
        checkpoint_path: resumable state, deleted at the end.
        seed: of initial values, order, sampling and dropout.
        hidden: width of the head; None is SUPERB's 256 for classification, 1,024 for generation.
        layers, dropout, normalize: see :class:`~speechprompt.downstream.model.ModelShape`.
        lr, betas, weight_decay: of Adam; a weight decay makes it AdamW.
        clip: largest norm of the gradient; 0 for none.
        schedule, warmup: see :func:`~speechprompt.training.schedule.learning_rate`; in updates.
        batch_size: utterances per update; for generation of similar length, as in s3prl.
        max_epochs: at most so many.
        patience: epochs without a better valid loss before stopping.
        balance: draw utterances with replacement so that every answer is equally likely, as SUPERB
            does for keywords.
        device: cpu, cuda or auto.
        compute_threads: numeric threads; results may depend on their number in the last bits.
        checkpoint_seconds: least time between two checkpoints.
        metadata: further entries for the model file.

    Raises:
        ArtefactError: the encoder's weights or a manifest are missing or damaged.
        ConfigError: impossible settings.
        CorpusError: a recording cannot be read, a label column is missing, or every utterance of a
            split is too short for its answer.
    """
    settings = {name: value for name, value in locals().items() if name not in _NO_INFLUENCE}
    set_compute_threads(compute_threads)
    device = resolve_device(device)
    labels = read_task_labels(train, task_type, columns)
    splits = {
        "train": read_recordings(train, labels),
        "valid": read_recordings(valid, labels),
    }
    source = load_source(encoder, device)
    generated = labels.allowed is None
    if generated:
        for split, recordings in splits.items():
            _check_durations(split, recordings, source.encoder.frame_rate)
    torch.manual_seed(seed)
    model = DownstreamModel(
        ModelShape(
            n_states=source.encoder.n_states,
            dim=source.encoder.dimension,
            n_labels=len(labels.names),
            allowed=labels.allowed,
            hidden=hidden or HIDDEN[generated],
            layers=layers,
            dropout=dropout,
            normalize=normalize,
        )
    ).to(device)
    parameters = model.trained()
    heard = _Listener(model, source)

    def batches(epoch: int) -> list[list[int]]:
        examples = splits["train"]
        order = draw_rows(examples.labels, len(examples), seed, epoch, balance)
        if generated:
            generator = np.random.default_rng([seed, epoch, 1])
            return length_batches(order, examples.seconds, batch_size, generator)
        return [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]

    def backward(batch: Sequence[int], update_seed: int) -> Sums:
        model.train()
        torch.manual_seed(update_seed)
        return heard(splits["train"], batch)

    @torch.no_grad()
    def evaluate() -> Sums:
        model.eval()
        examples = splits["valid"]
        order = np.argsort(examples.seconds, kind="stable").tolist()
        pieces = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        parts = [heard(examples, piece) for piece in pieces]
        return Sums.of(parts)

    result = fit(
        parameters,
        batches=batches,
        backward=backward,
        evaluate=evaluate,
        seed=seed,
        lr=lr,
        betas=tuple(betas),
        weight_decay=weight_decay,
        clip=clip,
        schedule=schedule,
        warmup=warmup,
        max_epochs=max_epochs,
        patience=patience,
        checkpoint_path=checkpoint_path,
        checkpoint_seconds=checkpoint_seconds,
        fingerprint=digest(
            {
                **settings,
                "encoder": source.encoder.sha256,
                "manifests": [sha256_file(train), sha256_file(valid)],
            }
        ),
    )
    summary = DownstreamResult(
        best_epoch=result.best_epoch,
        epochs=result.epochs,
        updates=result.updates,
        valid_loss=result.best.loss,
        valid_accuracy=result.best.accuracy,
        trainable_parameters=sum(p.numel() for p in parameters.values()),
    )
    if curve_path is not None:
        write_parquet(curve_path, curve_table(result.curve))
    described = {"answers": labels.state(), "seed": seed, "training": asdict(summary)}
    save_downstream(out, model, source.encoder, {**(metadata or {}), **described})
    if checkpoint_path is not None:
        Path(checkpoint_path).unlink(missing_ok=True)
    return summary


def length_batches(
    order: np.ndarray, seconds: Sequence[float], batch_size: int, generator: np.random.Generator
) -> list[list[int]]:
    """Batches of utterances of similar length, in random order; every row of ``order`` in one."""
    lengths = np.asarray(seconds)
    batches = []
    for start in range(0, len(order), POOL_BATCHES * batch_size):
        pool = order[start : start + POOL_BATCHES * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")].tolist()
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


class _Listener:
    """Losses of batches, with gradients where they are enabled."""

    def __init__(self, model: DownstreamModel, source: FrameSource) -> None:
        self.model, self.source = model, source

    def __call__(self, recordings: Recordings, batch: Sequence[int]) -> Sums:
        frames = self.source(recordings, batch)
        labels = [recordings.labels[row] for row in batch]
        scores = self.model(frames.states, frames.lengths)
        losses = self.model.head.losses(scores, frames.lengths, labels)
        if torch.is_grad_enabled() and losses.n_labels:
            losses.total.backward()
        return Sums(losses.total.item(), losses.n_labels, int(losses.right.sum()), len(batch))


def _check_durations(split: str, recordings: Recordings, frame_rate: float) -> None:
    """CTC needs a frame per label; SUPERB passes over an utterance that has fewer, and so do we."""
    pairs = zip(recordings.seconds, recordings.labels, strict=True)
    short = [seconds * frame_rate < needed_frames(labels) for seconds, labels in pairs]
    if all(short):
        raise CorpusError(
            f"{split}: CTC needs a frame per label, and at {frame_rate:g} frames/s none of the "
            f"{len(recordings)} utterances is as long as its answer, the first of them "
            f"{recordings.utt_ids[0]!r}; use an encoder with more frames, or shorter answers"
        )
    if any(short):
        first = recordings.utt_ids[short.index(True)]
        log(
            f"{split}: {sum(short)} of {len(recordings)} utterances are too short for their "
            f"answers at {frame_rate:g} frames/s and teach nothing, the first of them {first!r}"
        )
