"""Training of a task's prompt, or of the whole LM for the fine-tuning baseline (FT-LM).

One update sees ``batch_size`` utterances, computed in micro-batches of similar length within a
token budget; the gradients are those of the whole batch (gradient accumulation without a setting).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from speechprompt.errors import ConfigError, CorpusError
from speechprompt.lm.artefact import LoadedLM, load_lm
from speechprompt.lm.batching import micro_batches, pack
from speechprompt.prompting.prompt import Initialisation, Mode, Prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.runtime.device import make_deterministic, resolve_device, set_compute_threads
from speechprompt.runtime.precision import Precision, resolve_precision
from speechprompt.storage.parquet import write_parquet
from speechprompt.tasks.examples import Examples, few_examples
from speechprompt.tasks.verbalizer import VerbalizerKind, build_verbalizer
from speechprompt.training.loop import Sums, curve_table, digest, fit
from speechprompt.training.sampling import draw_rows
from speechprompt.training.schedule import Schedule

__all__ = ["Method", "TrainResult", "train_prompt"]

Method = Literal["prompt", "finetune"]

_NO_INFLUENCE = (
    "lm_path",
    "prompt_path",
    "curve_path",
    "checkpoint_path",
    "checkpoint_seconds",
    "label_names",
    "metadata",
)


@dataclass(frozen=True)
class TrainResult:
    """How a training ended; losses are nats per predicted token."""

    utterances: int
    best_epoch: int
    epochs: int
    updates: int
    valid_loss: float
    valid_accuracy: float
    trainable_parameters: int


def train_prompt(
    train: Examples,
    valid: Examples,
    *,
    lm_path: str | Path,
    codebook_sha256: str,
    n_labels: int,
    allowed: Sequence[Sequence[int]] | None,
    label_names: Sequence[str],
    prompt_path: str | Path,
    curve_path: str | Path | None = None,
    checkpoint_path: str | Path | None = None,
    seed: int = 1,
    method: Method = "prompt",
    mode: Mode = "deep",
    length: int = 5,
    layers: Sequence[int] | None = None,
    dropout: float = 0.1,
    init: Initialisation = "normal",
    verbalizer: VerbalizerKind = "frequency",
    end_loss: bool = True,
    lr: float = 5e-3,
    betas: tuple[float, float] = (0.9, 0.98),
    weight_decay: float = 0.0,
    clip: float = 1.0,
    schedule: Schedule = "constant",
    warmup: int = 0,
    batch_size: int = 32,
    micro_tokens: int = 2048,
    max_epochs: int = 300,
    epoch_size: int | None = None,
    patience: int = 10,
    balance: bool = False,
    utterances: int | None = None,
    unit_dropout: float = 0.0,
    precision: Precision = "fp32",
    device: str = "cpu",
    compute_threads: int = 2,
    checkpoint_seconds: float = 30.0,
    metadata: dict[str, Any] | None = None,
) -> TrainResult:
    """Train on ``train``, stop by the loss on ``valid``, write the best prompt.

    Args:
        train: utterances to learn from, each one row.
        valid: utterances that decide when to stop and what to keep.
        lm_path: unit LM file.
        codebook_sha256: of the codebook that made the units.
        n_labels: number of label indices.
        allowed: label indices allowed at each position of an answer; None for generation.
        label_names: a name per label index, for the file's metadata.
        prompt_path: prompt.safetensors to write.
        curve_path: learning curve (epoch, split, loss, accuracy, lr) to write.
        checkpoint_path: resumable state, deleted at the end.
        seed: of initial values, order, sampling and dropout.
        method: ``prompt``, or ``finetune`` for the whole LM without one.
        mode, length, layers: see :class:`~speechprompt.prompting.prompt.Prompt`.
        dropout: on the prompt; with ``finetune`` inside the LM.
        init: ``normal`` as published, or ``hidden``: the prompt starts as the LM's own hidden rows
            on randomly drawn training utterances.
        verbalizer: frequency, random, learnable or aligned.
        end_loss: whether ``</s>`` after a classification's answer is predicted too, as published.
        lr, betas, weight_decay: of Adam; a weight decay makes it AdamW.
        clip: largest norm of the gradient; 0 for none.
        schedule, warmup: see :func:`~speechprompt.training.schedule.learning_rate`; in updates.
        batch_size: utterances per update.
        micro_tokens: padded tokens computed at once, which bounds memory.
        max_epochs: at most so many.
        epoch_size: utterances drawn per epoch; as many as there are by default.
        patience: epochs without a better valid loss before stopping.
        balance: draw utterances with replacement so that every answer is equally likely.
        utterances: of ``train`` to learn from (few-shot), see
            :func:`~speechprompt.tasks.examples.few_examples`; all by default.
        unit_dropout: share of an utterance's units left out, drawn anew for every update.
        precision: of the LM's weights and activations; prompt and loss are always float32.
        device: cpu, cuda or auto.
        compute_threads: numeric threads; results may depend on their number in the last bits.
        checkpoint_seconds: least time between two checkpoints.
        metadata: further entries for the prompt file.

    Raises:
        ArtefactError: the LM belongs to another codebook or is damaged.
        ConfigError: impossible settings.
        CorpusError: no utterances, fewer than asked for, or one too long for the LM.
    """
    settings = {
        name: value
        for name, value in locals().items()
        if name not in _NO_INFLUENCE and not isinstance(value, Examples)
    }
    set_compute_threads(compute_threads)
    device = resolve_device(device)
    make_deterministic(device)
    dtype = resolve_precision(precision, device)
    if method not in get_args(Method):
        raise ConfigError(f"method: expected one of {get_args(Method)}, found {method!r}")
    for split, examples in (("train", train), ("valid", valid)):
        if not len(examples):
            raise CorpusError(f"{split}: expected utterances to train a prompt with, found none")
    if utterances is not None:
        train = few_examples(train, utterances, seed)

    # A fine-tuned LM keeps float32 weights; frozen ones are stored as they are used.
    lm = load_lm(lm_path, codebook_sha256, dtype if method == "prompt" else torch.float32, device)
    if method == "prompt":
        generator = torch.Generator().manual_seed(seed)
        prompt = Prompt(
            lm.model.config,
            length=length,
            mode=mode,
            layers=layers,
            dropout=dropout,
            generator=generator,
        )
        _initialise(prompt, init, lm, train, generator)
    else:
        prompt = None
        lm.model.requires_grad_(True)
        lm.model.dropout = dropout
    mapping = build_verbalizer(
        verbalizer,
        train.labels,
        train.units,
        n_labels=n_labels,
        n_units=lm.dictionary.n_units,
        n_columns=None if allowed is None else len(allowed),
        seed=seed,
    )
    task = TaskModel(lm, prompt, mapping, allowed, end_loss=end_loss, dtype=dtype)
    _check_lengths(task, {"train": train, "valid": valid})
    lengths = _lengths(task, train)

    def batches(epoch: int) -> list[list[int]]:
        order = draw_rows(train.labels, epoch_size or len(train), seed, epoch, balance).tolist()
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]

    def backward(batch: Sequence[int], update_seed: int) -> Sums:
        task.model.train(task.prompt is None)
        torch.manual_seed(update_seed)
        drawn = _leave_out_units(train, batch, unit_dropout, update_seed)
        pieces = micro_batches([lengths[i] for i in batch], range(len(batch)), micro_tokens)
        return _sums(task, drawn, pieces, update_seed)

    parameters = task.named_parameters()
    data = [row for e in (train, valid) for rows in (e.units, e.labels) for row in rows]
    result = fit(
        parameters,
        batches=batches,
        backward=backward,
        evaluate=lambda: evaluate_loss(task, valid, 2 * micro_tokens),
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
        fingerprint=digest({**settings, "lm_sha256": lm.sha256}, data),
    )
    summary = TrainResult(
        utterances=len(train),
        best_epoch=result.best_epoch,
        epochs=result.epochs,
        updates=result.updates,
        valid_loss=result.best.loss,
        valid_accuracy=result.best.accuracy,
        trainable_parameters=sum(p.numel() for p in parameters.values()),
    )
    if curve_path is not None:
        write_parquet(curve_path, curve_table(result.curve))
    described = {"labels": list(label_names), "seed": seed, "training": asdict(summary)}
    task.save(prompt_path, {**(metadata or {}), **described})
    if checkpoint_path is not None:
        Path(checkpoint_path).unlink(missing_ok=True)
    return summary


def _initialise(
    prompt: Prompt, init: Initialisation, lm: LoadedLM, train: Examples, generator: torch.Generator
) -> None:
    if init not in get_args(Initialisation):
        known = ", ".join(get_args(Initialisation))
        raise ConfigError(f"prompt.init: expected one of {known}, found {init!r}")
    if init == "hidden":
        drawn = torch.randint(len(train), (64,), generator=generator).tolist()
        sentences = [lm.dictionary.sentence(train.units[i])[:-1] for i in drawn]
        weights = lm.model.layers[0].out.weight
        packed = pack(sentences).to(weights.device, weights.dtype)
        prompt.start_from(lm.model.layer_inputs(packed).cpu(), generator)


@torch.no_grad()
def evaluate_loss(task: TaskModel, examples: Examples, micro_tokens: int) -> Sums:
    """Summed loss over the predicted tokens, and the answers that greedy decoding gets right."""
    task.model.eval()
    pieces = micro_batches(_lengths(task, examples), range(len(examples)), micro_tokens)
    return _sums(task, examples, pieces)


def _sums(
    task: TaskModel, examples: Examples, pieces: list[list[int]], seed: int | None = None
) -> Sums:
    """Sums over the pieces of a batch; where gradients are enabled they are added up."""
    total, tokens, right = 0.0, 0, 0
    for piece in pieces:
        # The same seed: one dropout mask for the whole batch, whatever its pieces.
        losses = task.losses(
            [examples.units[i] for i in piece],
            [examples.labels[i] for i in piece],
            task.prompt_tensors(seed),
        )
        if torch.is_grad_enabled():
            losses.total.backward()
        total += losses.total.item()
        tokens += losses.n_tokens
        right += int(losses.right.sum())
    return Sums(total, tokens, right, sum(map(len, pieces)))


def _lengths(task: TaskModel, examples: Examples) -> list[int]:
    pairs = zip(examples.units, examples.labels, strict=True)
    return [task.length(units, labels) for units, labels in pairs]


def _leave_out_units(train: Examples, batch: Sequence[int], share: float, seed: int) -> Examples:
    """The utterances of a batch, each without a random share of its units."""
    generator = np.random.default_rng(seed)
    units = [train.units[i] for i in batch]
    if share:
        units = [row[generator.random(len(row)) >= share] for row in map(np.asarray, units)]
    return Examples([train.utt_ids[i] for i in batch], units, [train.labels[i] for i in batch])


def _check_lengths(task: TaskModel, splits: dict[str, Examples]) -> None:
    limit = task.model.config.max_positions
    for split, examples in splits.items():
        for utt_id, units, labels in zip(
            examples.utt_ids, examples.units, examples.labels, strict=True
        ):
            if (needed := len(units) + 2 + len(labels)) > limit:
                raise CorpusError(
                    f"{split}: utterance {utt_id!r} needs {needed} positions, the unit LM has "
                    f"{limit}; leave it out or use a unit LM with more positions"
                )
