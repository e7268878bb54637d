"""What all scorings share: reading the scored splits, writing predictions and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from speechprompt.config.tasks import TaskType
from speechprompt.evaluation.calibration import Calibration
from speechprompt.evaluation.predictions import write_predictions
from speechprompt.evaluation.scores import Metrics, write_metrics
from speechprompt.evaluation.verdict import SharedSpeakers
from speechprompt.storage.files import read_json
from speechprompt.tasks.examples import Examples
from speechprompt.tasks.labels import Labels, read_examples, read_labels
from speechprompt.units.unit_files import read_units

if TYPE_CHECKING:
    # Its room loads torch, which most baselines do without.
    from speechprompt.downstream.recordings import Recordings

__all__ = [
    "BaselineData",
    "ScoreFiles",
    "check_described",
    "prediction_rows",
    "read_split",
    "write_scores",
]


Answers = Mapping[str, tuple[Sequence[str], Sequence[float] | np.ndarray]]


@dataclass(frozen=True)
class ScoreFiles:
    """Files of a scoring.

    Attributes:
        predictions: predictions to write.
        metrics: metrics.json to write.
        baselines: predictions of each baseline for the same utterances.
    """

    predictions: str | Path
    metrics: str | Path
    baselines: Sequence[str | Path] = ()


@dataclass(frozen=True)
class BaselineData:
    """Utterances that a baseline is fitted and scored on.

    Attributes:
        labels: labels of the task.
        train: utterances to learn from.
        dev: utterances by which settings are chosen.
        scored: utterances of each scored split, the main split last.
        speakers: speakers of each scored split that train has too.
    """

    labels: Labels
    train: Examples
    dev: Examples
    scored: dict[str, Examples]
    speakers: dict[str, SharedSpeakers] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        train: str | Path,
        dev: str | Path,
        scored: Sequence[str | Path],
        task_type: TaskType,
        columns: list[str],
    ) -> Self:
        """Read the splits behind index.json files.

        Args:
            train: index.json of the train split.
            dev: index.json of the split by which settings are chosen.
            scored: index.json of each split to score, the main one last.
            task_type: form of the answer: classification, transcription or slot_filling.
            columns: label columns.

        Raises:
            ArtefactError: a file is missing or damaged.
            CorpusError: a label column is missing, or has a label that train never had.
        """
        labels = read_labels(train, task_type, columns)
        learnt, looked_at = (read_examples(index, labels, encode=False) for index in (train, dev))
        splits = dict(read_split(index, labels) for index in scored)
        heard = _speakers(train)
        found = {
            split: SharedSpeakers.between(heard, _speakers(index))
            for split, index in zip(splits, scored, strict=True)
        }
        speakers = {split: shared for split, shared in found.items() if shared.n_shared}
        return cls(labels, learnt, looked_at, splits, speakers)

    def write_scores(
        self, files: ScoreFiles, task: str, method: str, answers: Answers, details: dict[str, Any]
    ) -> Metrics:
        """Write predictions and metrics of a baseline.

        The utterances whose units occur in train are marked.

        Args:
            files: files to write.
            task: name of the task.
            method: name of the baseline.
            answers: answers to each split as text, with their log-probabilities.
            details: further facts about the baseline for metrics.json.
        """
        learnt = set(map(_content, self.train.units))
        splits = {
            split: prediction_rows(rows, rows.units, *answers[split])
            | {"in_train": [_content(units) in learnt for units in rows.units]}
            for split, rows in self.scored.items()
        }
        described = {"method": method, "speakers": self.speakers}
        return write_scores(files, splits, self.labels, task, described, details)


def _speakers(index: str | Path) -> set[str]:
    """The known speakers of a split."""
    return set(read_units(index, ["speaker"])["speaker"].to_pylist()) - {None}


def _content(given: np.ndarray) -> bytes:
    """An utterance's units or the like as bytes, the same for the same units."""
    return np.asarray(given, dtype=np.int64).tobytes()


def read_split(index: str | Path, labels: Labels) -> tuple[str, Examples]:
    """Read the name and the utterances of a scored split.

    Args:
        index: index.json of the split.
        labels: labels of the task.
    """
    return read_json(index)["split"], read_examples(index, labels, encode=False)


def prediction_rows(
    utterances: Examples | Recordings,
    inputs: Sequence[np.ndarray],
    hypotheses: Sequence[str],
    scores: Sequence[float] | np.ndarray,
) -> dict[str, Any]:
    """Columns of one split for :func:`~speechprompt.evaluation.predictions.write_predictions`.

    An utterance that repeats an earlier one, the same input with the same reference, is marked.

    Args:
        utterances: names and references of the utterances.
        inputs: input of each utterance, such as its units, by which repeats are found.
        hypotheses: answer to each utterance as text.
        scores: log-probability of each answer.
    """
    keys = enumerate(zip(map(_content, inputs), utterances.references, strict=True))
    known = any(speaker is not None for speaker in utterances.speakers)
    first: dict[tuple[bytes, str], int] = {}  # the row where each occurs first
    return {
        "utt_id": utterances.utt_ids,
        "reference": utterances.references,
        "prediction": hypotheses,
        "score": scores,
        "is_repeat": [first.setdefault(key, row) < row for row, key in keys],
        **({"speaker": utterances.speakers} if known else {}),
    }


def check_described(described: Mapping[str, Any]) -> None:
    """Check what :func:`write_scores` takes from the metadata of what was trained.

    Raises:
        ValueError: a field has another type than trainings write.
    """
    kinds = {"method": str, "seed": int, "trainable_parameters": int}
    for name, kind in kinds.items():
        if type(found := described.get(name)) is not kind or found == "":
            raise ValueError(f"{name}: expected {kind.__name__}, found {found!r:.100}")


def write_scores(
    files: ScoreFiles,
    splits: Mapping[str, Mapping[str, Any]],
    labels: Labels,
    task: str,
    described: Mapping[str, Any],
    details: Mapping[str, Any],
    hashes: Mapping[str, str] | None = None,
    calibration: Mapping[str, Calibration] | None = None,
) -> Metrics:
    """Write predictions of all splits and their metrics.

    Args:
        files: files to write, and the baselines to compare with.
        splits: columns of each split, see :func:`prediction_rows`.
        labels: labels of the task.
        task: name of the task.
        described: the ``method``. For what was trained, its metadata, which have ``seed`` and
            ``trainable_parameters`` too; for a baseline, the ``speakers`` that train has too.
        details: further facts about the method for metrics.json.
        hashes: hashes of what was trained and of the models that it was trained on.
        calibration: calibration of each split's probabilities, where it is known.
    """
    method = described["method"]
    speakers = {split: found.model_dump() for split, found in described.get("speakers", {}).items()}
    write_predictions(
        files.predictions,
        splits,
        task_type=labels.type,
        columns=labels.columns,
        method=method,
        speakers=speakers,
    )
    return write_metrics(
        files.metrics,
        [files.predictions],
        task=task,
        method=method,
        baselines=files.baselines,
        trainable_parameters=described.get("trainable_parameters"),
        seeds=[described["seed"]] if "seed" in described else [],
        details=details,
        hashes=hashes or {},
        calibration=calibration or {},
    )
