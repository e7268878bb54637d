"""Results in the plan: where they are, what is shown of them, and the default targets."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from speechprompt.config import Config
from speechprompt.config.models import ExternalCodebook
from speechprompt.config.setup import RESERVED_TASK_NAMES
from speechprompt.config.tasks import SCORE_FILES, Task
from speechprompt.config.values import block_to_json
from speechprompt.errors import ConfigError, nearest
from speechprompt.workflow.folds import fold_tasks
from speechprompt.workflow.models import Models
from speechprompt.workflow.paths import CODEBOOK, SEED, UNIT_LM, Wildcards, one_of, options
from speechprompt.workflow.sweep import Sweep

__all__ = ["Results"]

# Files of a task's folder that a cross-validated task has in the folders of its folds.
OF_ONE_TRAINING = ("prompt.safetensors", "model.safetensors", "model.json")
# What depends on the machine, and not on the set-up.
OF_THE_MACHINE = {"device", "compute_threads", "lm_threads"}


@dataclass(frozen=True)
class Results:
    """What the rules of results ask for.

    Attributes:
        config: the set-up as it is configured, which tables and pages are of.
        models: what is planned of models; its set-up has a task for every fold, too.
        sweep: trainings of a sweep.
    """

    config: Config
    models: Models
    sweep: Sweep

    @property
    def _planned(self) -> Mapping[str, Task]:
        """All tasks that have results, those of folds included."""
        return self.models.config.tasks

    def _answering(self, name: str) -> str:
        """The task whose trainings are shown: of a cross-validated one it is the first fold."""
        return fold_tasks(self.config, name)[0]

    def seeds(self, task: str, method: str) -> list[str]:
        """A method's folders, one per seed, the first seed first."""
        return [SEED.format(task=task, method=method, seed=seed) for seed in self.config.seeds]

    def predictions(self, wildcards: Wildcards) -> list[str]:
        """Predictions of a method's seeds."""
        return [f"{f}/predictions.parquet" for f in self.seeds(wildcards.task, wildcards.method)]

    def metrics(self, wildcards: Wildcards) -> list[str]:
        """metrics.json of a method's seeds."""
        return [f"{folder}/metrics.json" for folder in self.seeds(wildcards.task, wildcards.method)]

    def seed_folders(self, wildcards: Wildcards, input: Any) -> str:
        """The folders of a method's seeds."""
        return shlex.join(str(Path(path).parent) for path in input.metrics)

    def compared_predictions(self, wildcards: Wildcards) -> list[str]:
        """Predictions of all methods and seeds of a task, and of the constant baseline."""
        methods = self._planned[wildcards.task].methods
        folders = [folder for method in methods for folder in self.seeds(wildcards.task, method)]
        folders.append(f"results/{wildcards.task}/baseline/constant")
        return [f"{folder}/predictions.parquet" for folder in folders]

    def finished_files(self) -> str:
        """Constraint: the files of a finished task, after the name of the task that has them."""
        names = [(task, re.escape(file)) for task in self._planned for file in self._files(task)]
        return one_of(f"(?<=/{task}/){file}" for task, file in names)

    def finished_sources(self, wildcards: Wildcards) -> dict[str, Any]:
        """What a file of a finished task is made from.

        With the score come all other files, and pictures of every seed.
        """
        name, task = wildcards.task, self._planned[wildcards.task]
        folders = self.seeds(name, task.method)
        if wildcards.file == "metrics.json":
            return {"source": f"results/{name}/{task.method}/metrics.json"}
        if wildcards.file != task.score_file:
            return {"source": f"{folders[0]}/{wildcards.file}"}
        drawn = ["confusion_matrix.svg"] if task.type == "classification" else []
        pictures = [f"{folder}/{picture}" for folder in folders for picture in drawn]
        pictures += [
            f"{folder}/learning_curve.svg"
            for trained in fold_tasks(self.models.config, name)
            for folder in self.seeds(trained, task.method)
        ]
        # Only these can answer new audio.
        answers = task.method in ("prompt", "finetune") and not task.crossvalidate
        model = ["model.json"] if answers else []
        return {
            "source": f"results/{name}/metrics.json",
            "files": [f"results/{name}/{file}" for file in [*self._files(name)[:-1], *model]],
            "pictures": pictures,
        }

    def scores_beside(self, wildcards: Wildcards) -> list[str]:
        """The scores that a trained file is compared with when it is copied."""
        source = Path(self.finished_sources(wildcards)["source"])
        is_trained = source.suffix == ".safetensors"
        return [str(source.with_name("metrics.json"))] if is_trained else []

    def scores_of_answering(self, wildcards: Wildcards) -> str:
        """The scores of the prompt that model.json names."""
        method = self._planned[wildcards.task].method
        return f"{self.seeds(wildcards.task, method)[0]}/metrics.json"

    def all_metrics(self) -> list[str]:
        """metrics.json of every task and method."""
        tasks = self.config.tasks.items()
        return [f"results/{name}/{m}/metrics.json" for name, task in tasks for m in task.methods]

    def example_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """What the utterances that a page shows are made from; audio and prompt, if there are."""
        name = self._answering(wildcards.task)
        task, corpora = self._planned[name], self.models.config.corpora
        corpus, codebook = corpora[task.corpus], self.config.lm[task.lm].codebook
        split = corpus.scored_splits[-1]
        folder, units = self.seeds(name, task.method)[0], self.models.units
        files: dict[str, Any] = {
            "predictions": f"{folder}/predictions.parquet",
            "index": units.index(codebook, task.corpus, split),
            "parts": units.parts(codebook, task.corpus, split),
        }
        if task.method != "downstream":
            files["prompt"] = f"{folder}/prompt.safetensors"
            files["unit_lm"] = UNIT_LM.format(lm=task.lm)
        if corpus.kind != "units":
            files["manifest"] = self.models.corpora.manifest(task.corpus, split)
            files["recordings"] = self.models.corpora.recordings(task.corpus, split)
        return files

    def example_options(self, wildcards: Wildcards, input: Any) -> str:
        """Audio and prompt of these utterances, their number, and how answers are found."""
        task = self.config.tasks[wildcards.task]
        names = ("manifest", "prompt", "unit_lm")
        found = {name: path for name in names if (path := input.get(name))}
        number = self.config.corpora[task.corpus].listen
        settings = block_to_json(task.decoding)
        return options(**found, settings=settings, examples=number, seed=self.config.seed)

    def listened(self) -> str:
        """Constraint: the tasks whose corpora may be listened to."""
        return one_of(self._listened())

    def overview_files(self) -> list[str]:
        """What the overview reads beside metrics and pictures."""
        tasks = self.config.tasks.items()
        corpora = dict.fromkeys(task.corpus for _, task in tasks)
        heard = [name for name in corpora if self.config.corpora[name].kind != "units"]
        return [
            *(f"{self.seeds(name, task.method)[0]}/predictions.parquet" for name, task in tasks),
            *(f"results/{name}/examples.parquet" for name in self._listened()),
            *(f"results/manifests/{name}/rejects.parquet" for name in heard),
        ]

    def task_page_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """What the overview of one task reads, which asks for no more training than its score."""
        name, task = wildcards.task, self.config.tasks[wildcards.task]
        alone = self._of_one_task(name)
        # Errors by length are drawn of all methods.
        pictures = (p for p in alone.pictures() if not p.endswith("/error_by_length.svg"))
        return {
            "beside": alone.overview_files(),
            "metrics": f"results/{name}/{task.method}/metrics.json",
            "pictures": list(pictures),
        }

    def tasks(self) -> str:
        """Constraint: the tasks as they are configured."""
        return one_of(self.config.tasks)

    def task_page_folder(self, wildcards: Wildcards, input: Any) -> str:
        """The folder of all results."""
        return shlex.quote(str(Path(input.metrics).parents[2]))

    def task_page_setup(self, wildcards: Wildcards) -> str:
        """The configuration with this task alone, as JSON."""
        return self._of_one_task(wildcards.task).setup()

    def _of_one_task(self, name: str) -> "Results":
        """The results of one task and of the method that is its own."""
        task = self.config.tasks[name].model_copy(update={"compare": [], "robustness": False})
        alone = {"tasks": {name: task}, "sweep": None, "quality": None}
        return replace(self, config=self.config.model_copy(update=alone))

    def reported(self, wildcards: Wildcards = None) -> str:
        """What the paper reports, by task and method, as JSON."""
        return json.dumps({name: task.reported for name, task in self.config.tasks.items()})

    def setup(self, wildcards: Wildcards = None) -> str:
        """The configuration, less what depends on the machine, as JSON."""
        return json.dumps(self.config.model_dump(mode="json", exclude=OF_THE_MACHINE))

    def refuse_unknown(self, words: Iterable[str]) -> None:
        """Refuse a result of a task that there is not, where Snakemake would say no more than that.

        Args:
            words: words of the command line; those that name no results are passed over.

        Raises:
            ConfigError: naming the tasks that exist, and the nearest.
        """
        for word in words:
            _, task, *rest = [*PurePath(word).parts, "", ""]
            if not word.startswith("results/") or not rest[0] or Path(word).exists():
                continue
            if task in self.config.tasks:
                file = self.config.tasks[task].score_file
                if rest[0] in SCORE_FILES.values() and rest[0] != file:
                    raise ConfigError(f"{word}: the score of {task!r} is results/{task}/{file}")
                if self.config.tasks[task].crossvalidate and rest[0] in OF_ONE_TRAINING:
                    raise ConfigError(
                        f"{word}: {task!r} has crossvalidate, which trains one for every fold; "
                        f"that of the first is results/{self._answering(task)}/{rest[0]}"
                    )
            elif task not in RESERVED_TASK_NAMES:
                known = ", ".join(self.config.tasks) or "none"
                close = nearest(task, self.config.tasks) or ";"
                raise ConfigError(f"{word}: no task {task!r} is configured{close} tasks: {known}")

    def folder(self, wildcards: Wildcards, input: Any) -> str:
        """The folder of all results."""
        return shlex.quote(str(Path(input.table).parent))

    def mapped_codebooks(self) -> list[str]:
        """The codebooks of what tasks read that have centroids."""
        books = dict.fromkeys(codebook for codebook, _ in self._read_units())
        return [n for n in books if not isinstance(self.config.codebooks[n], ExternalCodebook)]

    def mapped(self) -> str:
        """Constraint: the codebooks that have a map."""
        return one_of(self.mapped_codebooks())

    def unit_statistics(self, wildcards: Wildcards) -> str:
        """Statistics of a codebook's units in the first corpus that a task reads through it."""
        codebook = wildcards.codebook
        corpus = next(corpus for book, corpus in self._read_units() if book == codebook)
        return f"results/units/{codebook}/{corpus}/statistics.parquet"

    def pictures(self) -> list[str]:
        """What the overview shows of every task, and of the units that tasks read."""
        pictures = [f"results/codebooks/{codebook}.svg" for codebook in self.mapped_codebooks()]
        pictures += [f"results/units/{b}/{c}/statistics.svg" for b, c in self._read_units()]
        pictures += ["results/quality/quality.svg"] if self.config.quality else []
        pictures += self.sweep.pictures() if self.config.sweep else []
        for name, task in self.config.tasks.items():
            classification = task.type == "classification"
            shown = {"learning_curve": self._answering(name)}
            shown |= {"confusion_matrix": name} if classification else {}
            pictures += [
                f"{self.seeds(of, method)[0]}/{picture}.svg"
                for method in task.methods
                for picture, of in shown.items()
            ]
            pictures += [] if classification else [f"results/{name}/error_by_length.svg"]
            pictures += [f"results/{name}/robustness.svg"] if task.robustness else []
        return pictures

    def targets(self) -> list[str]:
        """Scores, tables and pictures of all tasks; without tasks, the models that are made."""
        quality = ["results/quality/table.md"] if self.config.quality else []
        if not self.config.tasks:
            return self._model_targets() + quality
        tasks = self.config.tasks.items()
        generated = (name for name, task in tasks if task.type != "classification")
        return [
            *(f"results/{name}/{task.score_file}" for name, task in tasks),
            *(f"results/{name}/error_by_length.svg" for name in generated),
            *(f"results/{name}/robustness.svg" for name, task in tasks if task.robustness),
            "results/table.md",
            "results/overview.html",
            *quality,
            *self.sweep.targets(),
        ]

    def _model_targets(self) -> list[str]:
        """Every model that is fitted or trained, with its learning curve."""
        encoders, lms = self.models.pretrained_encoders(), self.config.lm.items()
        books = [name for name, book in self.config.codebooks.items() if book.kind == "kmeans"]
        return [
            *(CODEBOOK.format(codebook=name) for name in books),
            *(f"results/encoders/{name}/learning_curve.svg" for name in encoders),
            *(f"results/lm/{n}/learning_curve.svg" for n, lm in lms if lm.kind == "pretrained"),
        ]

    def _listened(self) -> list[str]:
        tasks = self.config.tasks.items()
        return [name for name, task in tasks if self.config.corpora[task.corpus].listen]

    def _files(self, name: str) -> list[str]:
        """Names of the files in a finished task's folder, the score last."""
        task = self._planned[name]
        trained = "model" if task.method == "downstream" else "prompt"
        answers = [] if task.crossvalidate else [f"{trained}.safetensors"]
        return [*answers, "predictions.parquet", "metrics.json", task.score_file]

    def _read_units(self) -> list[tuple[str, str]]:
        """Codebook and corpus of what the tasks read."""
        tasks = self.config.tasks.values()
        return list(dict.fromkeys((self.config.lm[t.lm].codebook, t.corpus) for t in tasks))
