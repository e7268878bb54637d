"""Results by class, by pair of classes and by speaker, from a predictions file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from speechprompt.evaluation.metrics import MAIN_METRIC, metrics_of
from speechprompt.evaluation.predictions import about_predictions, counts
from speechprompt.tasks.classification import split_answer

__all__ = ["Confusions", "by_speaker", "confusions"]

OTHER = "other"
MOST_LISTED = 10


@dataclass(frozen=True)
class ClassResult:
    """How well a class is recognised; fractions, or None where they would divide by 0."""

    name: str
    precision: float | None
    recall: float | None
    f1: float
    support: int


@dataclass(frozen=True)
class Confusions:
    """References against answers of one label column.

    Attributes:
        column: the label column; empty where it is the only one.
        names: classes that are a reference.
        answers: classes of the answers: ``names``, and ``other`` where an answer is none of them.
        counts: (len(names), len(answers)) numbers of utterances.
        classes: results of each class.
        largest: the most frequent confusions: reference, answer and number of utterances.
    """

    column: str
    names: list[str]
    answers: list[str]
    counts: list[list[int]]
    classes: list[ClassResult]
    largest: list[tuple[str, str, int]]


def confusions(table: pa.Table) -> list[Confusions]:
    """The confusions of each label column of a classification.

    Args:
        table: predictions of one split.
    """
    columns = about_predictions(table)["columns"]
    sides = [table[name].to_pylist() for name in ("reference", "prediction")]
    if len(columns) == 1:
        return [_confusions("", *sides)]
    parts = [[split_answer(answer, len(columns)) for answer in side] for side in sides]
    return [
        _confusions(column, *([row[i] for row in side] for side in parts))
        for i, column in enumerate(columns)
    ]


def by_speaker(table: pa.Table) -> list[tuple[str, float, int]]:
    """The main metric of each speaker, the worst first: name, value and number of utterances.

    Args:
        table: predictions of one split; without speakers there are no rows.
    """
    if "speaker" not in table.column_names:
        return []
    name = MAIN_METRIC[about_predictions(table)["type"]]
    metric, columns = metrics_of(table.column_names)[name], counts([table])
    speakers = np.array([speaker or "unknown" for speaker in table["speaker"].to_pylist()])
    names = sorted(set(speakers.tolist()))
    values = metric.values(columns, [speakers == one for one in names])
    found = [
        (one, float(value), int((speakers == one).sum()))
        for one, value in zip(names, values, strict=True)
    ]
    return sorted(found, key=lambda row: row[1] if metric.higher_is_better else -row[1])


def _confusions(column: str, references: Sequence[str], answers: Sequence[str]) -> Confusions:
    names = sorted(set(references))
    unknown = set(answers) - set(names)
    given = [OTHER if answer in unknown else answer for answer in answers]
    others = [OTHER] if unknown else []
    pairs = Counter(zip(references, given, strict=True))
    support, answered = Counter(references), Counter(answers)
    classes = []
    for name in names:
        hits = pairs[name, name]
        precision = hits / answered[name] if answered[name] else None
        f1 = 2 * hits / (support[name] + answered[name])
        classes.append(ClassResult(name, precision, hits / support[name], f1, support[name]))
    wrong = Counter({pair: n for pair, n in pairs.items() if pair[0] != pair[1]})
    return Confusions(
        column=column,
        names=names,
        answers=[*names, *others],
        counts=[[pairs[row, answer] for answer in [*names, *others]] for row in names],
        classes=classes,
        largest=[(*pair, n) for pair, n in wrong.most_common(MOST_LISTED)],
    )
