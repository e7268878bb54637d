"""From answers to the scored splits to predictions and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.downstream.recordings import Recordings
from speechprompt.evaluation.predictions import mark_repeats, write_predictions
from speechprompt.evaluation.scores import Metrics, write_metrics
from speechprompt.storage.files import read_json
from speechprompt.tasks.examples import Examples
from speechprompt.tasks.labels import Labels, read_examples, read_labels

__all__ = ["BaselineData", "ScoreFiles", "prediction_rows", "read_split", "write_scores"]


@dataclass(frozen=True)
class ScoreFiles:
    """Files of a scoring.

    Attributes:
        predictions: predictions to write.
        metrics: metrics.json to write.
        baseline: predictions of a baseline for the same utterances; None compares with none.
    """

    predictions: str | Path
    metrics: str | Path
    baseline: str | Path | None = None


@dataclass(frozen=True)
class BaselineData:
    """What a baseline is chosen with and scored on.

    Attributes:
        labels: what can be answered.
        train: utterances to learn from.
        dev: utterances that choices look at.
        scored: utterances of each split to answer in the end, the main split last.
    """

    labels: Labels
    train: Examples
    dev: Examples
    scored: dict[str, Examples]

    @classmethod
    def read(
        cls,
        train: str | Path,
        dev: str | Path,
        scored: Sequence[str | Path],
        task_type: str,
        columns: list[str],
    ) -> BaselineData:
        """Read the splits behind index.json files.

        Args:
            train: index.json of the train split.
            dev: index.json of the split that choices look at.
            scored: index.json of each split to score, the main one last.
            task_type: form of the answer: classification, transcription or slot_filling.
            columns: label columns.

        Raises:
            ArtefactError: a file is missing or damaged.
            CorpusError: a label column is missing, or has a label that train never had.
        """
        labels = read_labels(train, task_type, columns)
        learnt, looked_at = (read_examples(index, labels, encode=False) for index in (train, dev))
        return cls(labels, learnt, looked_at, dict(read_split(index, labels) for index in scored))


def read_split(index: str | Path, labels: Labels) -> tuple[str, Examples]:
    """Name and utterances of a split that is to be scored."""
    return read_json(index)["split"], read_examples(index, labels, encode=False)


def prediction_rows(
    utterances: Examples | Recordings,
    inputs: Sequence[np.ndarray],
    answers: Sequence[str],
    scores: Sequence[float] | np.ndarray,
) -> dict[str, Any]:
    """One split as :func:`~speechprompt.evaluation.predictions.write_predictions` takes it.

    Args:
        utterances: names and references of the utterances.
        inputs: what each answer was found from, such as its units.
        answers: the answer to each, written down.
        scores: log-probability of each answer.
    """
    return {
        "utt_id": utterances.utt_ids,
        "reference": utterances.references,
        "prediction": answers,
        "score": scores,
        "is_repeat": mark_repeats(inputs, utterances.references),
    }


def write_scores(
    files: ScoreFiles,
    splits: Mapping[str, Mapping[str, Any]],
    labels: Labels,
    task: str,
    described: Mapping[str, Any],
    details: Mapping[str, Any],
    hashes: Mapping[str, str] | None = None,
) -> Metrics:
    """Write predictions of all splits and their metrics.

    Args:
        files: where to.
        splits: rows of each split, see :func:`prediction_rows`.
        labels: what could be answered.
        task: name of the task.
        described: ``method``, and ``seed`` and ``trainable_parameters`` of what was trained, as its
            file's metadata has them.
        details: what else metrics.json says of the method.
        hashes: hashes of what was trained and of the models that it was trained on.
    """
    method = described["method"]
    write_predictions(
        files.predictions, splits, task_type=labels.type, columns=labels.columns, method=method
    )
    return write_metrics(
        files.metrics,
        [files.predictions],
        task=task,
        method=method,
        baselines=[] if files.baseline is None else [files.baseline],
        trainable_parameters=described.get("trainable_parameters"),
        seeds=[described["seed"]] if "seed" in described else [],
        details=details,
        hashes=hashes or {},
    )
