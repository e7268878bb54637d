"""Tasks in the plan: what trainings, scores and baselines read, and their settings."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from speechprompt.config import Config
from speechprompt.config.corpora import Corpus
from speechprompt.config.crossvalidation import FoldCorpus
from speechprompt.config.models import ExternalCodebook
from speechprompt.config.tasks import Task
from speechprompt.config.values import block_to_json
from speechprompt.workflow.blocks import encoder_behind, speeds_of
from speechprompt.workflow.models import Models, given
from speechprompt.workflow.paths import SEED, UNIT_LM, Wildcards, one_of, options

__all__ = ["Tasks", "Trainings"]

# Fields of a task that its training does not depend on.
NOT_TRAINED = {
    "compare",
    "acoustic_baselines",
    "crossvalidate",
    "robustness",
    "reported",
    "finetuning",
    "downstream",
    "decoding",
}


@dataclass(frozen=True)
class Trainings:
    """What the rules ask for that train by a unit LM: those of tasks, and those of a sweep."""

    config: Config
    models: Models

    def training_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """What a training reads."""
        task = self._task(wildcards)
        dev = self.config.corpora[task.corpus].dev_split
        indexes, parts = self._splits(task, ["train", dev])
        lm = UNIT_LM.format(lm=task.lm)
        return {"train": indexes[0], "dev": indexes[1], "parts": parts, "lm": lm}

    def start_file(self, wildcards: Wildcards) -> list[str]:
        """The prompt that a training starts from; none for most."""
        start = self._task(wildcards).prompt.start
        return [given(start)] if start and wildcards.method == "prompt" else []

    def start(self, wildcards: Wildcards, input: Any) -> str:
        """The same, as an option."""
        return options(start=input.start)

    def scored_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """The unit LM, and the units of the splits that are scored."""
        task = self._task(wildcards)
        indexes, parts = self._splits(task, self.config.corpora[task.corpus].scored_splits)
        return {"scored": indexes, "parts": parts, "lm": UNIT_LM.format(lm=task.lm)}

    def compared(self, wildcards: Wildcards) -> list[str]:
        """Scored splits, which must have been compared with train before it is learnt from."""
        return self.scored_files(wildcards)["scored"]

    def settings(self, wildcards: Wildcards) -> str:
        """The block that a training by a method depends on."""
        task = self._task(wildcards).trained_by(wildcards.method)
        corpus: Corpus = self.config.corpora[task.corpus]
        if isinstance(corpus, FoldCorpus):  # as it is configured; the units say which fold it is
            task = task.model_copy(update={"corpus": corpus.of})
        return block_to_json(task, NOT_TRAINED)

    def decoding(self, wildcards: Wildcards) -> str:
        """How the answers of a training are found."""
        return block_to_json(self._task(wildcards).decoding)

    def _task(self, wildcards: Wildcards) -> Task:
        return self.config.tasks[wildcards.task]

    def _splits(self, task: Task, splits: list[str]) -> tuple[list[str], list[str]]:
        """Indexes of some splits, and all their parts."""
        names = [(self.config.lm[task.lm].codebook, task.corpus, split) for split in splits]
        indexes = [self.models.units.index(*name) for name in names]
        parts = [part for name in names for part in self.models.units.parts(*name)]
        return indexes, list(dict.fromkeys(parts))


class Tasks(Trainings):
    """What the rules of tasks ask for."""

    def of_type(self, *types: str) -> str:
        """Constraint: the tasks of some types."""
        return one_of(name for name, task in self.config.tasks.items() if task.type in types)

    def trained(self, *types: str) -> str:
        """Constraint: the tasks, by default of all types, that are not pooled from folds."""
        return one_of(
            name
            for name, task in self.config.tasks.items()
            if not task.crossvalidate and (not types or task.type in types)
        )

    # Prompts and fine-tuning

    def baseline_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """What a task's baseline reads."""
        read, scored = self.training_files(wildcards), self.scored_files(wildcards)
        parts = list(dict.fromkeys(read["parts"] + scored["parts"]))
        splits = {"train": read["train"], "dev": read["dev"], "scored": scored["scored"]}
        return {**splits, "parts": parts}

    def answers(self, wildcards: Wildcards) -> str:
        """The form of a task's answers and its label columns, as options."""
        task = self._task(wildcards)
        return options(type=task.type, labels=json.dumps(task.labels))

    def labels(self, wildcards: Wildcards) -> str:
        """A task's label columns, as an option."""
        return options(labels=json.dumps(self._task(wildcards).labels))

    def balance(self, wildcards: Wildcards) -> bool:
        """Whether a task's classes are evened out."""
        return self._task(wildcards).balance

    def few(self, wildcards: Wildcards) -> str:
        """From how many utterances a baseline learns if its task learns from few, as options."""
        n = self._task(wildcards).training.utterances
        return options(utterances=n, seed=n and self.config.seeds[0])

    def baselines(self, wildcards: Wildcards) -> list[str]:
        """Predictions that a task's scores are compared with."""
        task = self._task(wildcards)
        own = ["ngram"] if task.type == "classification" else []
        names = [*own, "constant", *dict.fromkeys(task.acoustic_baselines)]
        return [f"results/{wildcards.task}/baseline/{n}/predictions.parquet" for n in names]

    def baseline_option(self, wildcards: Wildcards, input: Any) -> str:
        """What a task's scores are compared with, as an option."""
        return shlex.join(["--baselines", *input.baselines])

    def that_hear(self) -> str:
        """Constraint: the tasks that answer recordings by a unit LM."""
        return one_of(
            name
            for name, task in self.config.tasks.items()
            if task.method != "downstream"
            and not task.crossvalidate
            and not isinstance(
                self.config.codebooks[self.config.lm[task.lm].codebook], ExternalCodebook
            )
        )

    # Downstream models

    def encoder_options(self, wildcards: Wildcards, input: Any) -> str:
        """The encoder behind a task's unit LM: its downstream model has the same."""
        settings = self.models.encoder(self._encoder(wildcards))
        return options(encoder=settings, encoder_weights=input.weights)

    def encoder_weights(self, wildcards: Wildcards) -> list[str]:
        """Weights of that encoder."""
        return self.models.weights(self._encoder(wildcards))

    def downstream_files(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """Manifests that a downstream model is trained by."""
        corpus, block = self._corpus(wildcards)
        splits = {"train": "train", "dev": block.dev_split}
        manifest = self.models.corpora.manifest
        return {name: [manifest(corpus, split)] for name, split in splits.items()}

    def downstream_scored(self, wildcards: Wildcards) -> list[str]:
        """Manifests of the splits that are scored."""
        corpus, block = self._corpus(wildcards)
        return [self.models.corpora.manifest(corpus, split) for split in block.scored_splits]

    def trained_recordings(self, wildcards: Wildcards) -> list[str]:
        """The audio that a downstream model is trained on."""
        corpus, block = self._corpus(wildcards)
        return self.models.corpora.recordings(corpus, "train", block.dev_split)

    def scored_recordings(self, wildcards: Wildcards) -> list[str]:
        """The audio that it is scored on."""
        corpus, block = self._corpus(wildcards)
        return self.models.corpora.recordings(corpus, *block.scored_splits)

    def downstream_settings(self, wildcards: Wildcards) -> str:
        """Settings of a task's downstream model."""
        return block_to_json(self._task(wildcards).downstream)

    # What answers new audio

    def answering_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """What model.json refers to; behind units that were there already is no encoder."""
        task, codebook = self._task(wildcards), self._codebook(wildcards)
        seed = self.config.seeds[0]
        folder = SEED.format(task=wildcards.task, method=task.method, seed=seed)
        files = {"prompt": f"{folder}/prompt.safetensors", "lm": UNIT_LM.format(lm=task.lm)}
        if isinstance(self.config.codebooks[codebook], ExternalCodebook):
            return files
        source = self.models.units.source(codebook)
        return {**files, "codebook": source, "weights": self.encoder_weights(wildcards)}

    def main_manifest(self, wildcards: Wildcards) -> str:
        """Manifest of the split that the one-line score is of."""
        return self.downstream_scored(wildcards)[-1]

    def main_recordings(self, wildcards: Wildcards) -> list[str]:
        """Its audio."""
        corpus, block = self._corpus(wildcards)
        return self.models.corpora.recordings(corpus, block.scored_splits[-1])

    def hearing(self, wildcards: Wildcards, input: Any) -> str:
        """How a task's units come from audio, and which audio its score is of, as options.

        Nothing for units that were there.
        """
        book = self.config.codebooks[self._codebook(wildcards)]
        if isinstance(book, ExternalCodebook):
            return ""
        speeds = speeds_of(self._corpus(wildcards)[1])
        quantizer = options(
            codebook=input.codebook,
            deduplicate=json.dumps(book.deduplicate),
            speeds=speeds and json.dumps(speeds),
            corpus=self.config.tasks[wildcards.task].corpus,
        )
        return f"{self.encoder_options(wildcards, input)} {quantizer}"

    def _corpus(self, wildcards: Wildcards) -> tuple[str, Corpus]:
        """Name and block of a task's corpus."""
        name = self._task(wildcards).corpus
        return name, self.config.corpora[name]

    def _codebook(self, wildcards: Wildcards) -> str:
        return self.config.lm[self._task(wildcards).lm].codebook

    def _encoder(self, wildcards: Wildcards) -> str:
        return encoder_behind(self.config, self._codebook(wildcards))
