"""Tasks in the plan: what trainings, scores and baselines read, and their settings."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from speechprompt.config import Config
from speechprompt.config.models import ExternalCodebook
from speechprompt.config.tasks import Task
from speechprompt.config.values import block_to_json
from speechprompt.workflow.blocks import encoder_behind
from speechprompt.workflow.models import Models, weights_option
from speechprompt.workflow.paths import SEED, Wildcards, one_of

__all__ = ["Tasks", "training_files", "training_settings"]

# Fields of a task that its training does not depend on.
NOT_TRAINED = {"compare", "reported", "finetuning", "downstream", "decoding"}


@dataclass(frozen=True)
class Tasks:
    """What the rules of tasks ask for."""

    config: Config
    models: Models

    def of_type(self, *types: str) -> str:
        """Constraint: the tasks of some types."""
        return one_of(name for name, task in self.config.tasks.items() if task.type in types)

    # Prompts and fine-tuning

    def training_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """What a task's training reads."""
        return training_files(self.models, self._task(wildcards))

    def scored_files(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """The splits that are scored."""
        return scored_files(self.models, self._task(wildcards))

    def lm(self, wildcards: Wildcards) -> str:
        """A task's unit LM."""
        return self.models.lm(self._task(wildcards).lm)

    def settings(self, wildcards: Wildcards) -> str:
        """A task as one method trains it."""
        return training_settings(self._task(wildcards), wildcards.method)

    def decoding(self, wildcards: Wildcards) -> str:
        """How a task's answers are found."""
        return block_to_json(self._task(wildcards).decoding)

    def baseline_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """What a task's baseline reads."""
        read, scored = self.training_files(wildcards), self.scored_files(wildcards)
        parts = list(dict.fromkeys(read["parts"] + scored["parts"]))
        return {
            "train": read["train"],
            "dev": read["dev"],
            "scored": scored["scored"],
            "parts": parts,
        }

    def type(self, wildcards: Wildcards) -> str:
        """The form of a task's answers."""
        return self._task(wildcards).type

    def labels(self, wildcards: Wildcards) -> str:
        """A task's label columns, as JSON."""
        return json.dumps(self._task(wildcards).labels)

    def balance(self, wildcards: Wildcards) -> bool:
        """Whether a task's classes are evened out."""
        return self._task(wildcards).balance

    # Downstream models

    def encoder(self, wildcards: Wildcards) -> str:
        """Settings of the encoder behind a task's unit LM: its downstream model has the same."""
        return self.models.encoder(self._encoder(wildcards))

    def encoder_weights(self, wildcards: Wildcards) -> list[str]:
        """Weights of that encoder."""
        return self.models.weights(self._encoder(wildcards))

    def downstream_files(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """Manifests that a downstream model is trained by."""
        corpora, corpus = self.models.corpora, self._task(wildcards).corpus
        splits = {"train": "train", "dev": corpora.dev_split(corpus)}
        return {name: [corpora.manifest(corpus, split)] for name, split in splits.items()}

    def downstream_scored(self, wildcards: Wildcards) -> list[str]:
        """Manifests of the splits that are scored."""
        corpora, corpus = self.models.corpora, self._task(wildcards).corpus
        return [corpora.manifest(corpus, split) for split in corpora.scored_splits(corpus)]

    def trained_recordings(self, wildcards: Wildcards) -> list[str]:
        """The audio that a downstream model is trained on."""
        corpora, corpus = self.models.corpora, self._task(wildcards).corpus
        return corpora.recordings(corpus, "train", corpora.dev_split(corpus))

    def scored_recordings(self, wildcards: Wildcards) -> list[str]:
        """The audio that it is scored on."""
        corpora, corpus = self.models.corpora, self._task(wildcards).corpus
        return corpora.recordings(corpus, *corpora.scored_splits(corpus))

    def downstream_settings(self, wildcards: Wildcards) -> str:
        """Settings of a task's downstream model."""
        return block_to_json(self._task(wildcards).downstream)

    # What answers new audio

    def answering_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """What model.json refers to; behind units that were there already is no encoder."""
        task, codebook = self._task(wildcards), self._codebook(wildcards)
        seed = self.config.seeds[0]
        folder = SEED.format(task=wildcards.task, method=task.method, seed=seed)
        files = {"prompt": f"{folder}/prompt.safetensors", "lm": self.lm(wildcards)}
        if isinstance(self.config.codebooks[codebook], ExternalCodebook):
            return files
        source = self.models.units.source(codebook)
        return {**files, "codebook": source, "weights": self.encoder_weights(wildcards)}

    def hearing(self, wildcards: Wildcards) -> str:
        """How a task's units come from audio, as options; nothing for units that were there."""
        book = self.config.codebooks[self._codebook(wildcards)]
        if isinstance(book, ExternalCodebook):
            return ""
        words = ["--encoder", self.models.encoder(book.encoder)]
        return shlex.join([*words, "--deduplicate", json.dumps(book.deduplicate)])

    def hearing_files(self, wildcards: Wildcards, input: Any) -> str:
        """The files that this takes, as options."""
        if isinstance(self.config.codebooks[self._codebook(wildcards)], ExternalCodebook):
            return ""
        codebook = shlex.join(["--codebook", str(input.codebook)])
        return f"{codebook} {weights_option(wildcards, input)}"

    def _task(self, wildcards: Wildcards) -> Task:
        return self.config.tasks[wildcards.task]

    def _codebook(self, wildcards: Wildcards) -> str:
        return self.config.lm[self._task(wildcards).lm].codebook

    def _encoder(self, wildcards: Wildcards) -> str:
        return encoder_behind(self.config, self._codebook(wildcards))


def training_files(models: Models, task: Task) -> dict[str, Any]:
    """What the training of a task by its unit LM reads."""
    dev = models.corpora.dev_split(task.corpus)
    indexes, parts = _splits(models, task, ["train", dev])
    return {"train": indexes[0], "dev": indexes[1], "parts": parts, "lm": models.lm(task.lm)}


def scored_files(models: Models, task: Task) -> dict[str, list[str]]:
    """The units that a task is scored on."""
    indexes, parts = _splits(models, task, models.corpora.scored_splits(task.corpus))
    return {"scored": indexes, "parts": parts}


def training_settings(task: Task, method: str) -> str:
    """The block that a training by a method depends on."""
    return block_to_json(task.trained_by(method), NOT_TRAINED)


def _splits(models: Models, task: Task, splits: list[str]) -> tuple[list[str], list[str]]:
    """Indexes of some splits, and all their parts."""
    codebook = models.config.lm[task.lm].codebook
    indexes = [models.units.index(codebook, task.corpus, split) for split in splits]
    parts = [p for split in splits for p in models.units.parts(codebook, task.corpus, split)]
    return indexes, list(dict.fromkeys(parts))
