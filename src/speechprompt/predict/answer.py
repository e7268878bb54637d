"""A task's answer to a recording: as an object, as JSON and as a row of a table."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from speechprompt.prompting.calibration import answer_shares, calibrated
from speechprompt.prompting.decoding import Predictions
from speechprompt.storage.tables import align_columns
from speechprompt.storage.text import printable
from speechprompt.tasks.classification import split_answer
from speechprompt.tasks.labels import Labels
from speechprompt.tasks.sequences import parse_slots

__all__ = ["NONE", "Answer", "AnswerTable", "write_answer"]

# The answer where none is sure enough.
NONE = "none"
TITLES = ("file", "task", "answer", "probability")


@dataclass(frozen=True, repr=False)
class Answer:
    """What a task predicts for a recording, or why it cannot.

    Attributes:
        file: the recording, as the caller named it.
        task: name of the task.
        answer: text as in predictions.parquet: the label, several labels with `` | `` between
            them, a transcript, or a transcript with marked slots.
        score: natural logarithm of the answer's probability among the allowed answers, as in
            predictions.parquet.
        probability: that probability, calibrated for a classification whose label columns do not
            depend on each other; for a transcript it is the probability of all characters.
        labels: value of each label column, for a classification.
        slots: type and value of each slot, for slot filling.
        probabilities: probability of every label, where there is one label column.
        error: reason why there is no answer.
        warning: reason why the answer may be wrong.
    """

    file: str
    task: str
    answer: str | None = None
    score: float | None = None
    probability: float | None = None
    labels: dict[str, str] | None = None
    slots: list[tuple[str, str]] | None = None
    probabilities: dict[str, float] | None = None
    error: str | None = None
    warning: str | None = None

    def __repr__(self) -> str:
        found = f"error: {self.error}" if self.error is not None else f"{self.answer!r}"
        share = "" if self.probability is None else f" ({self.probability:.4f})"
        return f"<Answer {self.file}, {self.task}: {found}{share}>"

    def to_dict(self) -> dict[str, object]:
        """All attributes that are not None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def write_answer(
    file: str,
    task: str,
    labels: Labels,
    predictions: Predictions,
    row: int,
    temperature: float = 1.0,
) -> Answer:
    """Make the answer to one recording.

    Args:
        file: the recording.
        task: name of the task.
        labels: labels of the task.
        predictions: answers to several recordings.
        row: number of the recording among them.
        temperature: divisor of the log-probabilities of labels, which calibrates them.
    """
    answer, score = labels.decode(predictions.labels[row]), float(predictions.scores[row])
    values = None
    if labels.type == "classification" and answer:
        parts = split_answer(answer, len(labels.columns))
        values = dict(zip(labels.columns, parts, strict=True))
    probabilities, share = None, math.exp(score)
    if predictions.label_scores is not None:
        shares = calibrated(predictions.label_scores[row], temperature, labels.allowed)
        if labels.allowed is not None and len(labels.allowed) == 1:
            probabilities = dict(zip(labels.names, shares.tolist(), strict=True))
        if temperature != 1:
            given = np.array(predictions.labels[row])
            share = float(answer_shares(shares[None], given[None], predictions.combinations)[0])
    return Answer(
        file=file,
        task=task,
        answer=answer,
        score=score,
        probability=share,
        labels=values,
        slots=parse_slots(answer)[1] if labels.type == "slot_filling" else None,
        probabilities=probabilities,
    )


class AnswerTable:
    """A table that is printed in blocks; its columns may get wider from block to block."""

    def __init__(self) -> None:
        self.widths: list[int] = []

    def block(self, answers: Sequence[Answer]) -> str:
        """Write the rows of some answers; the first block has titles."""
        rows = [_row(answer) for answer in answers]
        if not self.widths:
            rows.insert(0, TITLES)
            self.widths = [0] * len(TITLES)
        for column in range(len(TITLES) - 1):
            # An error may be long, and there is no column to its right.
            cells = [row[column] for row in rows if column < 2 or row[3]]
            self.widths[column] = max([self.widths[column], *map(len, cells)])
        lines = [[*row[:3], row[3].rjust(len(TITLES[3]))] for row in rows]
        return "\n".join(align_columns(lines, self.widths))


def _row(answer: Answer) -> tuple[str, str, str, str]:
    share = answer.probability
    if share is None:
        return printable(answer.file), answer.task, printable(f"error: {answer.error}"), ""
    written = f"{share:.4f}" if share >= 0.0001 else f"{share:.1e}"
    return printable(answer.file), answer.task, printable(answer.answer or "-"), written
