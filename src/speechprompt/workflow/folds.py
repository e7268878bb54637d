"""Cross-validation in the plan: a corpus and a task for every fold, and what pools their scores."""

import shlex
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from speechprompt.config import Config
from speechprompt.config.crossvalidation import FoldCorpus
from speechprompt.workflow.blocks import block_of, speeds_of
from speechprompt.workflow.paths import Wildcards, one_of, options
from speechprompt.workflow.units import Units

__all__ = ["Folds", "fold_tasks", "with_folds"]


def fold_tasks(config: Config, name: str) -> list[str]:
    """Names of the tasks of a cross-validated task's folds; the task itself for any other."""
    settings = config.tasks[name].crossvalidate
    return [f"{name}/fold-{n + 1}" for n in range(settings.folds)] if settings else [name]


def with_folds(config: Config) -> Config:
    """The configuration with a corpus and a task for every fold beside those that are configured.

    Their names have a slash, which no configured name has.
    """
    corpora: dict[str, Any] = dict(config.corpora)
    tasks = dict(config.tasks)
    for name, task in config.tasks.items():
        if (settings := task.crossvalidate) is None:
            continue
        whole = config.corpora[task.corpus]
        of_whole = {
            "of": task.corpus,
            "folds": settings.folds,
            "valid_fraction": getattr(whole, "valid_fraction", None) or 0.1,
            "speeds": speeds_of(whole),
        }
        for number, fold in enumerate(fold_tasks(config, name), 1):
            corpus = f"{task.corpus}/fold-{number}-of-{settings.folds}"
            corpora[corpus] = FoldCorpus(number=number, **of_whole)
            changed = {"corpus": corpus, "crossvalidate": None}
            tasks[fold] = task.model_copy(update=changed)
    return config.model_copy(update={"corpora": corpora, "tasks": tasks})


@dataclass(frozen=True)
class Folds:
    """What the rules of folds ask for.

    Attributes:
        config: the configuration with its folds.
        units: units of the whole corpora.
    """

    config: Config
    units: Units

    def crossvalidated(self) -> str:
        """Constraint: the tasks whose scores are pooled."""
        return one_of(name for name, task in self.config.tasks.items() if task.crossvalidate)

    def manifests(self, wildcards: Wildcards) -> list[str]:
        """Manifests of all splits of the corpus that a fold is of."""
        of = self._fold(wildcards).of
        splits = self.config.corpora[of].splits
        return [self.units.corpora.manifest(of, split) for split in splits]

    def division(self, wildcards: Wildcards) -> str:
        """Which fold it is of how many, as options."""
        fold = self._fold(wildcards)
        return options(fold=fold.number, folds=fold.folds, valid_fraction=fold.valid_fraction)

    def whole_units(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """Units of all splits of the corpus that a fold is of."""
        of, codebook = self._fold(wildcards).of, wildcards.codebook
        splits = self.config.corpora[of].splits
        return {
            "units": [self.units.index(codebook, of, split) for split in splits],
            "parts": [p for split in splits for p in self.units.parts(codebook, of, split)],
        }

    def answers(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """Predictions and metrics of a method and seed, or of a baseline, in every fold."""
        if hasattr(wildcards, "baseline"):
            place = f"baseline/{wildcards.baseline}"
        else:
            place = f"{wildcards.method}/seed-{wildcards.seed}"
        folders = [f"results/{t}/{place}" for t in fold_tasks(self.config, wildcards.task)]
        return {
            "predictions": [f"{folder}/predictions.parquet" for folder in folders],
            "metrics": [f"{folder}/metrics.json" for folder in folders],
        }

    def folders(self, wildcards: Wildcards, input: Any) -> str:
        """The folders of these files."""
        return shlex.join(str(PurePath(path).parent) for path in input.metrics)

    def _fold(self, wildcards: Wildcards) -> FoldCorpus:
        return block_of(self.config.corpora, wildcards.corpus, FoldCorpus)
