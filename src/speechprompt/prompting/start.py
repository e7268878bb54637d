"""Prompts that start from one that has learnt to tell words apart.

Such a prompt was trained on many words, and its rows read what tells words from each other. A task
that starts from it takes these rows over. What it makes of them is learnt first: a logistic
regression for each member on a few numbers of each utterance, which has one optimum and needs few
recordings. It is folded into the weights of a learnable verbalizer, so that the task's file is as
that of any other prompt. (Starting from the prompt of another task is Vu et al.'s, "SPoT", 2022.)

A start file has the tensors of a prompt and ``readers`` (members, N + 1, rows x units): N
projections of the unit scores at a member's rows, and a constant. The projections are the principal
directions of the words' weights, centred, and of one scale over ordinary utterances.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from speechprompt.config.tasks import PromptSettings
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.lm.artefact import LoadedLM
from speechprompt.lm.batching import micro_batches
from speechprompt.models.shipped import former_version
from speechprompt.prompting.decoding import decoding_budget
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.shared_batches import read_sources
from speechprompt.prompting.task_file import DESCRIBED, load_task_model
from speechprompt.prompting.task_model import TaskModel
from speechprompt.runtime.progress import log, progress
from speechprompt.runtime.uninitialised import without_weights
from speechprompt.storage.files import content_of, read_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import (
    check_shapes,
    read_tensor_metadata,
    read_tensors,
    shapes_of,
    write_tensors,
)
from speechprompt.units.unit_files import read_renditions, read_units

__all__ = ["Start", "make_start"]

FORMAT = "speechprompt start 1"
READERS = "readers"
# Standard deviation of what a reader gives, so that a penalty of C = 1 suits few utterances.
SCALE = 0.13
# Score of a label that no utterance to learn from has.
NEVER = -10.0
MAX_ITERATIONS = 300


@dataclass(frozen=True)
class Start:
    """A prompt to start from.

    Attributes:
        prompt: its rows.
        readers: (members, N + 1, rows x units) projections of unit scores; the last is constant.
        sha256: hash of the file.
    """

    prompt: Prompt
    readers: Tensor
    sha256: str

    @classmethod
    def load(cls, path: str | Path, lm: LoadedLM) -> Start:
        """Read a start file for a unit LM.

        Raises:
            ArtefactError: the file is none, is damaged, or belongs to another unit LM.
        """
        with content_of(path):
            return cls._load(path, lm)

    @classmethod
    def _load(cls, path: str | Path, lm: LoadedLM) -> Start:
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise ArtefactError(
                f"{path}: not a prompt to start from; `speechprompt make-start` makes one of a "
                "trained prompt"
            )
        if metadata["lm_sha256"] != lm.sha256:
            raise ArtefactError(
                f"{path}: trained with the unit LM {metadata['lm_sha256']}, found {lm.sha256}; use "
                f"the unit LM of that training{former_version(metadata['lm_sha256'])}"
            )
        shape = PromptSettings(**metadata["prompt"])
        readers = tensors.pop(READERS, torch.zeros(0))
        with without_weights():
            claimed = Prompt(lm.model.config, shape).state_dict()
        check_shapes(path, DESCRIBED, expected=shapes_of(claimed), found=shapes_of(tensors))
        prompt = Prompt(lm.model.config, shape)
        width = (prompt.length + 1) * lm.dictionary.n_units
        if readers.dim() != 3 or (readers.shape[0], readers.shape[2]) != (prompt.members, width):
            raise ArtefactError(
                f"{path}: {READERS}: expected {prompt.members} x N x {width} numbers, found "
                f"{' x '.join(map(str, readers.shape))}"
            )
        prompt.load_state_dict(tensors)
        return cls(prompt, readers, sha256_file(path))

    @torch.no_grad()
    def read(
        self,
        model: TaskModel,
        heard: Sequence[Sequence[np.ndarray]],
        labels: Sequence[Sequence[int]],
    ) -> Readings:
        """Read the utterances to learn from.

        Args:
            model: the task's model, with this prompt.
            heard: units of each utterance as it was recorded, and of its renditions.
            labels: label indices of each utterance.
        """
        units = [row for rows in heard for row in rows]
        found = np.empty((len(units), *self.readers.shape[:2]), np.float32)
        readers = self.readers.to(model.device)
        for rows, scores in _unit_scores(model, units):
            by_member = scores.view(len(rows), len(readers), -1)
            found[rows] = torch.einsum("nmk,mrk->nmr", by_member, readers).cpu().numpy()
        answers = np.repeat(np.array(labels), [len(rows) for rows in heard], axis=0)
        return Readings(found, answers)

    @torch.no_grad()
    def fit(self, model: TaskModel, read: Readings, strength: float, balance: bool) -> None:
        """Set the weights of a task's verbalizer, by logistic regression.

        Args:
            model: the task's model, with this prompt.
            read: what was read of the utterances to learn from.
            strength: C, the inverse of the penalty.
            balance: whether all classes weigh the same.
        """
        layer = model.verbalizer.weight
        # The constant alone, which is the last reader.
        weights = NEVER * self.readers[:, -1:].repeat(1, len(model.label_ids), 1)
        for targets in read.answers.T:
            present = sorted(set(targets.tolist()))
            for member, table in enumerate(read.table.transpose(1, 0, 2)):
                found = _logistic_regression(table, targets, strength, balance)
                weights[member, present] = torch.from_numpy(found) @ self.readers[member]
        layer.copy_(weights.view_as(layer))


@dataclass(frozen=True)
class Readings:
    """What the readers give of utterances.

    Attributes:
        table: (utterances, members, readers).
        answers: (utterances, columns) their labels.
    """

    table: np.ndarray
    answers: np.ndarray


def _unit_scores(
    model: TaskModel, units: Sequence[np.ndarray]
) -> Iterator[tuple[list[int], Tensor]]:
    """The rows of each batch, and the unit scores (B, R, K) at their query rows and separators."""
    lengths = [model.length(row) for row in units]
    pieces = micro_batches(lengths, range(len(units)), decoding_budget(model, 1))
    for rows in progress(pieces, "reading", len(pieces), "batch"):
        hidden = read_sources([model], [0] * len(rows), [units[i] for i in rows])
        yield rows, model.model.logits(hidden).index_select(-1, model.unit_ids)


def _logistic_regression(
    table: np.ndarray, targets: np.ndarray, strength: float, balance: bool
) -> np.ndarray:
    """Weights (labels that occur, readers), for scores that a softmax takes."""
    if len(set(targets.tolist())) == 1:
        return np.zeros((1, table.shape[1]), np.float32)
    model = LogisticRegression(
        C=strength,
        fit_intercept=False,  # the constant reader is one
        class_weight="balanced" if balance else None,
        max_iter=MAX_ITERATIONS,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights = model.fit(table, targets).coef_.astype(np.float32)
    return np.concatenate((-weights, weights)) / 2 if len(weights) == 1 else weights


def make_start(
    prompt: str | Path,
    unit_lm: str | Path,
    units: str | Path,
    out: str | Path,
    *,
    readers: int = 128,
) -> None:
    """Make a prompt to start from of one that was trained to tell many words apart.

    Args:
        prompt: prompt of a classification of one column, with query rows and a learnable
            verbalizer.
        unit_lm: unit LM of its training.
        units: index.json of utterances by which readers are centred and scaled.
        out: file to write.
        readers: number of directions to keep of each member.

    Raises:
        ArtefactError: the prompt belongs to another unit LM, or a file is damaged.
        ConfigError: the prompt has another form, or fewer labels than readers.
    """
    model = load_task_model(prompt, unit_lm, read_json(units)["codebook_sha256"])
    if model.prompt is None or model.prompt.mode != "query" or not model.reads_at_once:
        raise ConfigError(
            f"{prompt}: expected a classification by query rows with a learnable verbalizer"
        )
    n_labels = len(model.label_ids)
    if n_labels <= readers:
        raise ConfigError(f"{prompt}: expected over {readers} labels, found {n_labels}")
    table = read_units(units)
    rows = [np.asarray(row, np.int64) for row in table["units"].to_pylist()]
    heard = [*rows, *(row for others in read_renditions(table) for row in others)]
    members = model.prompt.members
    found = np.empty((len(heard), members, model.verbalizer.weight.shape[-1]))
    for batch, scores in _unit_scores(model, heard):
        found[batch] = scores.reshape(len(batch), members, -1).numpy()
    weights = model.verbalizer.weight.detach().double().numpy().reshape(members, n_labels, -1)
    directions = [
        _directions(own, scores, readers)
        for own, scores in zip(weights, found.transpose(1, 0, 2), strict=True)
    ]
    state = {name: p.detach() for name, p in model.prompt.named_parameters()}
    state[READERS] = torch.from_numpy(np.stack(directions)).float()
    metadata = read_tensor_metadata(prompt)
    kept = ("prompt", "lm_sha256", "codebook_sha256")
    write_tensors(
        out,
        state,
        {"format": FORMAT, "words": n_labels, **{name: metadata[name] for name in kept}},
    )
    log(f"{out}: {readers} readers for each of {members} members, of {n_labels} words")


def _directions(weights: np.ndarray, scores: np.ndarray, n: int) -> np.ndarray:
    """The readers (n + 1, rows x units) of a member.

    Args:
        weights: (words, rows x units) of the verbalizer.
        scores: (utterances, rows x units) unit scores.
        n: number of directions.
    """
    # A combination of unit scores that is 1 for nearly every utterance: scores are far from 0.
    moments = scores.T @ scores / len(scores)
    ridge = 1e-4 * np.trace(moments) / len(moments)
    constant = np.linalg.solve(moments + ridge * np.eye(len(moments)), scores.mean(axis=0))
    _, sizes, directions = np.linalg.svd(weights - weights.mean(axis=0), full_matrices=False)
    chosen = directions[:n] * sizes[:n, None]
    chosen -= np.outer(chosen @ scores.mean(axis=0), constant)
    chosen *= SCALE / (scores @ chosen.T).std()
    return np.concatenate((chosen, constant[None]))
