"""Training of a task's prompt, or of the whole LM for the fine-tuning baseline (FT-LM).

One update sees ``batch_size`` utterances. They are computed in micro-batches of similar length
within a token budget, whose gradients add up to those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechprompt.config.tasks import Task
from speechprompt.errors import ConfigError, CorpusError
from speechprompt.lm.artefact import LoadedLM, load_lm
from speechprompt.lm.batching import check_lengths, micro_batches, micro_budget
from speechprompt.lm.packing import pack
from speechprompt.prompting.calibration import fit_temperature
from speechprompt.prompting.combinations import closed_combinations
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.start import Start
from speechprompt.prompting.task_model import TaskModel
from speechprompt.runtime.progress import progress
from speechprompt.storage.files import read_json
from speechprompt.tasks.examples import Examples, few_examples
from speechprompt.tasks.labels import Labels, read_examples, read_labels
from speechprompt.tasks.verbalizer import build_verbalizer
from speechprompt.training.job import Computation, TrainingFiles, fingerprint
from speechprompt.training.loop import Sums, first_points, fit
from speechprompt.training.result import CurvePoint, TrainingResult
from speechprompt.training.sampling import draw_rows

__all__ = ["TaskData", "evaluate_loss", "train_prompt"]

# C of a logistic regression that starts from another prompt, of which valid chooses one.
STRENGTHS = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class TaskData:
    """Labelled units that a task is trained with.

    Attributes:
        labels: what can be answered.
        train: utterances to learn from, each one row.
        valid: utterances that decide when to stop and which parameters to keep.
        codebook_sha256: hash of the codebook that made the units.

    Raises:
        CorpusError: a split has no utterances.
    """

    labels: Labels
    train: Examples
    valid: Examples
    codebook_sha256: str

    def __post_init__(self) -> None:
        for split, examples in self.splits().items():
            if not len(examples):
                raise CorpusError(f"{split}: expected utterances to train with, found none")

    @classmethod
    def read(cls, train: str | Path, valid: str | Path, task: Task) -> TaskData:
        """Read two splits from their index.json.

        Args:
            train: index.json of the train split.
            valid: index.json of the split that decides when to stop.
            task: the task.

        Raises:
            ArtefactError: a file is missing or damaged.
            CorpusError: a label column is missing, or has a label that train never had.
        """
        labels = read_labels(train, task.type, task.labels)
        learnt, held_out = (read_examples(index, labels) for index in (train, valid))
        return cls(labels, learnt, held_out, read_json(train)["codebook_sha256"])

    def splits(self) -> dict[str, Examples]:
        """Both splits by name."""
        return {"train": self.train, "valid": self.valid}


def train_prompt(
    task: Task,
    data: TaskData,
    unit_lm: str | Path,
    files: TrainingFiles,
    *,
    computation: Computation,
    seed: int = 1,
    name: str | None = None,
    start: str | Path | None = None,
) -> TrainingResult:
    """Train on ``train``, stop by the loss on ``valid``, write the best prompt.

    Args:
        task: the task. Its method is ``prompt``, or ``finetune`` for the whole LM without one.
        data: what it learns from.
        unit_lm: unit LM file.
        files: prompt.safetensors, learning curve (epoch, split, loss, accuracy, lr) and checkpoint.
        computation: device and threads.
        seed: seed of initial values, order, sampling and dropout.
        name: name of the task, for the prompt file.
        start: file of the prompt that ``prompt.start`` names.

    Raises:
        ArtefactError: the LM belongs to another codebook or is damaged.
        ConfigError: settings that the LM or the labels do not allow.
        CorpusError: fewer utterances than asked for, or one that is too long for the LM.
    """
    if task.method == "downstream":
        raise ConfigError("method: expected prompt or finetune, found 'downstream'")
    settings = task.training
    device, dtype = computation.start(settings.precision)
    if settings.utterances is not None:
        data = replace(data, train=few_examples(data.train, settings.utterances, seed))
    prompted = task.method == "prompt"
    # A fine-tuned LM keeps float32 weights; frozen ones are stored as they are used.
    lm = load_lm(unit_lm, data.codebook_sha256, dtype if prompted else torch.float32, device)
    if prompted and (start is None) != (task.prompt.start is None):
        named = "no file" if start is None else f"file {start}"
        raise ConfigError(f"prompt.start: found {task.prompt.start!r} in the settings, and {named}")
    started = Start.load(start, lm) if prompted and start else None
    model = _build_model(task, data, lm, seed, dtype, started)
    for split, examples in data.splits().items():
        needed = (model.n_positions(units, labels) for _, units, labels in examples.rows())
        names = (f"{split}: utterance {utt_id!r}" for utt_id in examples.utt_ids)
        check_lengths(names, needed, model.model.config.max_positions)
    training = _PromptTraining(model, task, data, seed)
    result = fit(
        training,
        settings,
        files,
        seed=seed,
        fingerprint=fingerprint(
            train_prompt,
            task,
            computation,
            {
                "seed": seed,
                "unit_lm": model.lm.sha256,
                "labels": data.labels.state(),
                "start": started and started.sha256,
            },
            [row for e in data.splits().values() for rows in _content(e) for row in rows],
        ),
        rates=_own_rates(model, settings.verbalizer_lr),
        initial=_start_from(started, training) if started else (),
    )
    metadata: dict[str, Any] = {
        "task": name,
        "labels": data.labels.names,
        "answers": data.labels.state(),
        "seed": seed,
        "training": {
            "utterances": len(data.train),
            "units": [f(map(len, data.train.units)) for f in (min, max)],
            **result.summary(),
        },
    }
    if started:
        metadata["start_sha256"] = started.sha256
    if (temperature := _temperature(model, data)) is not None:
        metadata["temperature"] = temperature
    files.finish(result, lambda path: model.save(path, metadata))
    return result


def _content(examples: Examples) -> list[Iterable[np.ndarray | list[int]]]:
    """What decides on the training's result."""
    return [examples.units, examples.labels, chain.from_iterable(examples.renditions)]


def _own_rates(model: TaskModel, verbalizer_lr: float | None) -> dict[str, float]:
    """The learning rate of a learnable verbalizer, if it has one of its own."""
    if verbalizer_lr is None:
        return {}
    return {name: verbalizer_lr for name in model.named_parameters() if name.startswith("verb")}


def _temperature(model: TaskModel, data: TaskData) -> float | None:
    """The temperature that calibrates a classification.

    None for another task, where no utterance was held out, and where the labels of one column
    depend on those of another.
    """
    columns = data.labels.allowed
    if data.valid is data.train or columns is None:
        return None
    if len(columns) > 1 and not model.reads_at_once:
        return None
    found = predict(model, data.valid.units, renditions=data.valid.renditions)
    assert found.label_scores is not None
    return fit_temperature(found.label_scores, data.valid.labels, columns)


def _start_from(start: Start, training: _PromptTraining) -> list[CurvePoint]:
    """Fit the verbalizer to what the prompt reads, with the penalty that suits valid best."""
    model, data = training.model, training.data
    layer, read = model.verbalizer.weight, start.read(model, training.heard, data.train.labels)
    strengths = STRENGTHS if data.valid is not data.train else (1.0,)
    found: list[tuple[Sums, Tensor]] = []
    for strength in progress(strengths, "fit", len(strengths), "penalty"):
        start.fit(model, read, strength, training.task.balance)
        found.append((training.evaluate().read(), layer.detach().clone()))
    valid, weight = min(found, key=lambda one: one[0].loss)
    with torch.no_grad():
        layer.copy_(weight)
    train = evaluate_loss(model, data.train, 2 * training.budget).read()
    return first_points(train, valid)


class _PromptTraining:
    """The task's model with its data, as the loop trains it."""

    def __init__(self, model: TaskModel, task: Task, data: TaskData, seed: int) -> None:
        self.model, self.task, self.data, self.seed = model, task, data, seed
        pairs = zip(data.train.heard(), data.train.labels, strict=True)
        self.heard = [_that_fit(model, heard, labels) for heard, labels in pairs]
        self.budget = micro_budget(
            task.training.micro_tokens,
            model.model.config.activation_bytes(model.dtype),
            model.device,
        )

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        return self.model.named_parameters()

    def batches(self, epoch: int) -> list[list[int]]:
        labels, settings = self.data.train.labels, self.task.training
        n = settings.epoch_size or len(labels)
        order = draw_rows(labels, n, self.seed, epoch, self.task.balance).tolist()
        size = settings.batch_size
        return [order[i : i + size] for i in range(0, len(order), size)]

    def backward(self, batch: Sequence[int], seed: int) -> Sums:
        settings = self.task.training
        self.model.model.train(self.model.prompt is None)
        torch.manual_seed(seed)
        drawn = _draw_renditions(self.data.train, self.heard, batch, seed)
        lengths = _lengths(self.model, drawn)
        drawn = _leave_out_units(drawn, settings.unit_dropout, seed)
        even = self.model.padded is not None
        pieces = micro_batches(lengths, range(len(batch)), self.budget, even)
        return _sums(self.model, drawn, pieces, seed)

    def evaluate(self) -> Sums:
        # Twice the budget: without gradients a micro-batch needs less memory.
        return evaluate_loss(self.model, self.data.valid, 2 * self.budget)


def _build_model(
    task: Task,
    data: TaskData,
    lm: LoadedLM,
    seed: int,
    dtype: torch.dtype,
    started: Start | None,
) -> TaskModel:
    """Add a prompt to the unit LM or make it trainable, and choose the labels' units."""
    prompted = task.method == "prompt"
    writes = data.labels.allowed is None and task.verbalizer == "learnable"
    n_labels = len(data.labels.names)
    prompt = started.prompt if started else None
    if prompted and prompt is None:
        generator = torch.Generator().manual_seed(seed)
        prompt = Prompt(lm.model.config, task.prompt, generator, n_labels if writes else 0)
        if task.prompt.init == "hidden":
            _copy_hidden_rows(prompt, lm, data.train, generator)
    if not prompted:
        lm.model.requires_grad_(True)
        lm.model.dropout = task.prompt.dropout
    verbalizer = build_verbalizer(
        "aligned" if writes and prompt is None else task.verbalizer,
        data.train.labels,
        data.train.units,
        n_labels=n_labels,
        n_units=lm.dictionary.n_units,
        seed=seed,
        rows=1 + (prompt.n_positions if prompt and not writes else 0),
        writes=writes and prompt is not None,
        members=prompt.members if prompt else 1,
    )
    return TaskModel(
        lm,
        prompt,
        verbalizer,
        data.labels.allowed,
        combinations=_combinations(data),
        end_loss=task.training.end_loss,
        smoothing=task.training.label_smoothing,
        dtype=dtype,
    )


def _combinations(data: TaskData) -> list[list[int]] | None:
    """The combinations of labels that answers may be; None for all, as without a valid split."""
    if data.valid is data.train:
        return None
    return closed_combinations(data.train.labels, data.valid.labels, data.labels.allowed)


def _copy_hidden_rows(
    prompt: Prompt, lm: LoadedLM, train: Examples, generator: torch.Generator
) -> None:
    """Start the prompt as the LM's own hidden rows on randomly drawn training utterances."""
    drawn = torch.randint(len(train), (64,), generator=generator).tolist()
    sentences = [lm.dictionary.sentence(train.units[i])[:-1] for i in drawn]
    packed = pack(sentences, device=lm.model.embed.device, dtype=lm.model.dtype)
    prompt.start_from(lm.model.layer_inputs(packed).cpu(), generator)


@torch.no_grad()
def evaluate_loss(task: TaskModel, examples: Examples, micro_tokens: int) -> Sums:
    """Sums over some utterances; correct are the answers that greedy decoding gets right."""
    task.model.eval()
    even = task.padded is not None
    pieces = micro_batches(_lengths(task, examples), range(len(examples)), micro_tokens, even)
    return _sums(task, examples, pieces)


def _sums(
    task: TaskModel, examples: Examples, pieces: list[list[int]], seed: int | None = None
) -> Sums:
    """Sums over the micro-batches of a batch; where gradients are enabled they are added up."""
    parts = []
    for piece in pieces:
        # One seed, so that all micro-batches of a batch have the same dropout mask.
        loss = task.loss(
            [examples.units[i] for i in piece],
            [examples.labels[i] for i in piece],
            task.prompt_tensors(seed),
        )
        if torch.is_grad_enabled():
            loss.total.backward()
        total = loss.total.detach().double()
        parts.append(Sums(total, loss.n_tokens, loss.correct.sum(), len(piece)))
    return Sums.over(parts)


def _lengths(task: TaskModel, examples: Examples) -> list[int]:
    return [task.length(units, labels) for _, units, labels in examples.rows()]


def _that_fit(model: TaskModel, heard: list[np.ndarray], labels: list[int]) -> list[np.ndarray]:
    """An utterance and those of its renditions that are not too long for the unit LM."""
    room = model.model.config.max_positions
    return [heard[0], *(row for row in heard[1:] if model.n_positions(row, labels) <= room)]


def _draw_renditions(
    train: Examples, heard: Sequence[Sequence[np.ndarray]], batch: Sequence[int], seed: int
) -> Examples:
    """The utterances of a batch, each as it was recorded or as one of its renditions."""
    generator = np.random.default_rng((seed, 1))
    units = [heard[i][int(generator.integers(len(heard[i])))] for i in batch]
    return Examples([train.utt_ids[i] for i in batch], units, [train.labels[i] for i in batch])


def _leave_out_units(batch: Examples, share: float, seed: int) -> Examples:
    """The utterances of a batch, each without a random share of its units."""
    if not share:
        return batch
    generator = np.random.default_rng(seed)
    units = [row[generator.random(len(row)) >= share] for row in map(np.asarray, batch.units)]
    return replace(batch, units=units)
