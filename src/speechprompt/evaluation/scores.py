"""Scores: metrics beside their baselines, from the predictions of one or several seeds.

The files of a finished task's folder are here too.
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.calibration import Calibration
from speechprompt.evaluation.metrics import (
    MAIN_METRIC,
    Score,
    in_percent,
    metrics_of,
)
from speechprompt.evaluation.predictions import (
    about_predictions,
    check_same_utterances,
    shared_with_train,
    split_rows,
)
from speechprompt.evaluation.split_scores import (
    Scores,
    fold_scores,
    shuffled_answers,
    split_gains,
    split_scores,
)
from speechprompt.evaluation.verdict import SharedSpeakers, compare_in_words, overlap_in_words
from speechprompt.runtime.progress import log
from speechprompt.storage.files import (
    content_of,
    copy_file,
    read_json,
    sha256_artefact,
    write_json,
    write_text,
)
from speechprompt.storage.parquet import read_parquet

__all__ = [
    "REPORTED_BESIDE",
    "Metrics",
    "check_scored",
    "describe",
    "finish_task",
    "judge",
    "summarise_seeds",
    "trained_hashes",
    "write_metrics",
]

# What the table shows beside the main metric.
REPORTED_BESIDE = {"wer": ("cer",), "acc": ("macro_f1",)}
# The file that a training wrote, by its name in ``hashes``.
TRAINED = {"prompt": "prompt.safetensors", "model": "model.safetensors"}


class MainMetric(BaseModel):
    """The main metric of a task on the last scored split."""

    model_config = ConfigDict(extra="forbid")

    name: str
    value: float
    higher_is_better: bool


class Metrics(BaseModel):
    """The content of metrics.json. It has fractions, not percentages, and no times or host names.

    ``floors`` has the scores of each baseline on the same utterances. ``gains`` has how much better
    than each baseline the result is: above 0 it is better, whichever way the metric points.
    ``per_fold`` has the main metric of each fold of a cross-validation.
    ``in_train`` is the number of utterances of each split whose units occur in train, and
    ``speakers`` has the speakers that train has too.
    """

    model_config = ConfigDict(extra="forbid")

    task: str = Field(min_length=1)
    type: str = Field(min_length=1)
    method: str = Field(min_length=1)
    main: MainMetric
    splits: Scores
    floors: dict[str, Scores] = {}
    gains: dict[str, Scores] = {}
    trainable_parameters: int | None = Field(None, ge=0, lt=2**63)
    seeds: list[int] = []
    per_seed: dict[str, float] = {}
    per_fold: dict[str, Score] = {}
    in_train: dict[str, int] = {}
    speakers: dict[str, SharedSpeakers] = {}
    calibration: dict[str, Calibration] = {}
    details: dict[str, Any] = {}
    versions: dict[str, str] = {}
    hashes: dict[str, str] = {}

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a metrics.json.

        Raises:
            ArtefactError: it is damaged, or lacks a score.
        """
        with content_of(path):
            found = cls.model_validate(read_json(path))
            found.check_complete()
            return found

    def check_complete(self) -> None:
        """Check that the last split has what is reported, and that each baseline has it too.

        Raises:
            ValueError: a score is missing.
        """
        if not self.splits:
            raise ValueError("it has no splits")
        split, scores = list(self.splits.items())[-1]
        names = {self.main.name, *REPORTED_BESIDE.get(self.main.name, ())}
        groups = {"splits": scores}
        for baseline in self.floors.keys() | self.gains.keys():
            for group, found in (("floors", self.floors), ("gains", self.gains)):
                groups[f"{group}.{baseline}"] = found.get(baseline, {}).get(split, {})
        for group, given in groups.items():
            if missing := sorted(names - given.keys()):
                raise ValueError(f"{group} has no {', '.join(missing)} on {split}")


def write_metrics(
    path: str | Path,
    predictions: Sequence[str | Path],
    *,
    task: str,
    method: str,
    baselines: Sequence[str | Path] = (),
    **facts: Any,
) -> Metrics:
    """Score the predictions of one or several seeds, write metrics.json and log the main score.

    Values are means over the seeds. Intervals come from a bootstrap over utterances, whose numbers
    are averaged over the seeds first. The main metric is that of the last split. Beside it stands
    its value on the novel utterances, whose units do not occur in train, where some are not novel;
    the baselines' predictions say which. Generated answers
    are also compared with the baseline ``shuffled``, the same answers moved to other utterances: it
    shows how good answers are that do not depend on the audio.

    Args:
        path: JSON file to write.
        predictions: predictions files, one per seed.
        task: name of the task.
        method: name of the method or baseline.
        baselines: predictions files of baselines for the same utterances.
        facts: further fields of :class:`Metrics`.

    Raises:
        ArtefactError: the files do not hold the same utterances.
    """
    tables = [read_parquet(file) for file in predictions]
    about = about_predictions(tables[0])
    compared = {
        about_predictions(table)["method"]: [table] for table in map(read_parquet, baselines)
    }
    if baselines and about["type"] != "classification":
        compared["shuffled"] = [shuffled_answers(table, about) for table in tables]
    everything = [*tables, *(table for group in compared.values() for table in group)]
    for other in everything:
        check_same_utterances(tables[0], other)
    heard, speakers = shared_with_train(everything)
    scores = split_scores(tables, heard)
    name = MAIN_METRIC[about["type"]]
    metrics = Metrics(
        task=task,
        type=about["type"],
        method=method,
        main=MainMetric(
            name=name,
            value=list(scores.values())[-1][name].value,
            higher_is_better=metrics_of(tables[0].column_names)[name].higher_is_better,
        ),
        splits=scores,
        floors={key: split_scores(group, heard) for key, group in compared.items()},
        gains={key: split_gains(tables, group, heard) for key, group in compared.items()},
        in_train={
            split: n
            for split, rows in split_rows(tables[0]).items()
            if (n := int(heard[rows].sum()))
        },
        speakers=speakers,
        per_fold=fold_scores(tables, name),
        versions=_versions(),
        **facts,
    )
    _check_numbers(path, metrics)
    write_json(path, metrics.model_dump(mode="json"))
    log(describe(metrics))
    return metrics


def summarise_seeds(
    folders: Sequence[str | Path], out: str | Path, baselines: Sequence[str | Path] = ()
) -> Metrics:
    """Score a method over its seeds, and say in words where it is not above its baselines.

    Args:
        folders: folder of each seed, with predictions.parquet and metrics.json.
        out: metrics.json to write.
        baselines: predictions of each baseline on the same splits.
    """
    each = [Metrics.read(Path(folder, "metrics.json")) for folder in folders]
    seeds = [seed for entry in each for seed in entry.seeds]
    shared, _ = trained_hashes(each[0])
    trained = {
        f"{key}_seed_{seed}": value
        for seed, entry in zip(seeds, each, strict=True)
        for key, value in trained_hashes(entry)[1].items()
    }
    metrics = write_metrics(
        out,
        [Path(folder, "predictions.parquet") for folder in folders],
        task=each[0].task,
        method=each[0].method,
        baselines=baselines,
        trainable_parameters=each[0].trainable_parameters,
        seeds=seeds,
        per_seed={str(s): e.main.value for s, e in zip(seeds, each, strict=True)},
        calibration={
            split: Calibration.mean([entry.calibration[split] for entry in each])
            for split in each[0].calibration
        },
        hashes=shared | trained,
    )
    for sentences in judge(metrics):
        log(sentences)
    return metrics


def trained_hashes(metrics: Metrics) -> tuple[dict[str, str], dict[str, str]]:
    """The hashes of what a result was made from, and of what was trained for it."""
    trained = {
        key: value for key, value in metrics.hashes.items() if key.partition("_")[0] in TRAINED
    }
    shared = {key: value for key, value in metrics.hashes.items() if key not in trained}
    return shared, trained


def finish_task(source: str | Path, out: str | Path) -> None:
    """Write one file of a finished task's folder.

    Args:
        source: what the first seed trained or predicted, or metrics.json over the seeds.
        out: a text file gets the main metric of metrics.json in percent, two decimals; another
            file is a copy.

    Raises:
        ArtefactError: there is no such result, or it is not what was scored.
    """
    source, out = Path(source), Path(out)
    if not source.is_file():
        raise ArtefactError(
            f"{source}: no such file; a finished task has {' or '.join(TRAINED.values())}, "
            "predictions.parquet and metrics.json"
        )
    if out.suffix != ".txt":
        check_scored(source)
        copy_file(source, out)
        return
    metrics = Metrics.read(source)
    write_text(out, f"{100 * metrics.main.value:.2f}\n")
    for line in (describe(metrics), *judge(metrics)):
        log(line)


def check_scored(trained: str | Path) -> None:
    """Refuse a trained file that is not the one whose scores are beside it.

    Args:
        trained: a prompt or a downstream model; without a metrics.json beside it, it is taken.

    Raises:
        ArtefactError: its hash is not the one in metrics.json.
    """
    trained = Path(trained)
    path = trained.with_name("metrics.json")
    names = [name for name, file in TRAINED.items() if file == trained.name]
    if not names or not path.is_file():
        return
    metrics = Metrics.read(path)
    seed = f"_seed_{metrics.seeds[0]}" if metrics.seeds else ""
    hashes = (metrics.hashes.get(name) for name in (names[0], names[0] + seed))
    expected = next((value for value in hashes if value), None)
    if expected and (found := sha256_artefact(trained)) != expected:
        raise ArtefactError(
            f"{trained}: expected sha256 {expected} as in {path}, found {found}; the file was "
            "changed after it was scored, restore it or score it again"
        )


def describe(metrics: Metrics) -> str:
    """Describe the main metric in one line, with its interval, macro-F1 and the baselines."""
    split, scores = list(metrics.splits.items())[-1]
    found = scores[metrics.main.name]
    text = f"{metrics.task}: {metrics.main.name} {in_percent(found.value, found.interval, ' %')}, "
    if "macro_f1" in scores:
        text += f"macro-F1 {100 * scores['macro_f1'].value:.2f} %, "
    text += f"{split} split, {found.n} utterances"
    if metrics.seeds:
        text += f", {len(metrics.seeds)} seed(s)"
    if metrics.per_fold:
        found_in = (f"{100 * one.value:.2f}" for one in metrics.per_fold.values())
        text += f", folds {', '.join(found_in)} %"
    for name, baseline in metrics.floors.items():
        score_of_baseline = baseline[split][metrics.main.name].value
        text += f"; {name.replace('_', ' ')} {100 * score_of_baseline:.2f} %"
    return text


def judge(metrics: Metrics, shown: str | None = None) -> list[str]:
    """Say in words where the main metric is not above its baselines, and what to do about it.

    Args:
        metrics: the scores.
        shown: the baseline whose gain stands beside the sentences, which then do not repeat it.

    Returns:
        Sentences for each baseline that the result is worse than, or does not differ from; and on
        what the scored split has in common with train.
    """
    split, scores = list(metrics.splits.items())[-1]
    name = metrics.main.name
    found = []
    for baseline, floor in metrics.floors.items():
        both = (scores[name], floor[split][name], metrics.gains[baseline][split][name])
        found.append(compare_in_words(metrics.method, baseline, *both, figures=baseline != shown))
    overlap = overlap_in_words(
        split, name, scores, metrics.in_train.get(split, 0), metrics.speakers.get(split)
    )
    return [*filter(None, found), *overlap]


def _check_numbers(path: str | Path, metrics: Metrics) -> None:
    """Refuse to write a score that is no number."""
    for group in (metrics.splits, *metrics.floors.values(), *metrics.gains.values()):
        for split, scores in group.items():
            for name, found in scores.items():
                if not np.isfinite([found.value, *found.interval]).all():
                    raise ArtefactError(
                        f"{path}: {name} on {split} is {found.value}, which is no score; the "
                        "predictions hold numbers that are not finite"
                    )


def _versions() -> dict[str, str]:
    packages = ("speechprompt", "torch", "torchaudio", "numpy", "scikit-learn", "pyarrow")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
