"""Labels of several columns that belong together: answers are combinations that train has."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import logsumexp

__all__ = ["answer_scores", "best_labels", "closed_combinations", "is_answer"]

# Numbers that are compared at once.
CELLS = 2**22


def is_answer(labels: Sequence[int], columns: Sequence[Sequence[int]]) -> bool:
    """Whether there is a label of each column, in their order."""
    return len(labels) == len(columns) and all(
        label in column for label, column in zip(labels, columns, strict=True)
    )


def closed_combinations(
    train: Sequence[Sequence[int]],
    valid: Sequence[Sequence[int]],
    columns: Sequence[Sequence[int]] | None,
) -> list[list[int]] | None:
    """The combinations of labels that train has, if there seem to be no others.

    That is so if train has each of them at least twice, so that the estimated probability of others
    is 0 (Good 1953, doi 10.1093/biomet/40.3-4.237), and valid has no other.

    Args:
        train: label indices of each utterance, one for each column.
        valid: the same of other utterances.
        columns: label indices of each column; None in a generation.

    Returns:
        the combinations in order; None where others may occur, where all are there, and with a
        single column.
    """
    if columns is None or len(columns) == 1:
        return None
    counts = Counter(map(tuple, train))
    known = sorted(counts)
    if min(counts.values(), default=0) < 2 or not counts.keys() >= set(map(tuple, valid)):
        return None
    return None if len(known) == math.prod(map(len, columns)) else [list(row) for row in known]


def best_labels(
    label_scores: np.ndarray,
    columns: Sequence[Sequence[int]],
    known: Sequence[Sequence[int]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest answers whose columns are scored apart.

    Args:
        label_scores: (N, n_labels) log-probabilities, each within its column.
        columns: label indices of each column.
        known: the combinations (C, n_columns) that an answer may be; None for all.

    Returns:
        (N, n_columns) labels; (N,) the answers' log-probabilities among those that may be.
    """
    if known is None:
        best = [np.asarray(column)[label_scores[:, column].argmax(axis=1)] for column in columns]
        answers = np.stack(best, axis=1)
    else:
        chosen = [joint.argmax(axis=1) for joint in _joint_scores(label_scores, known)]
        answers = np.asarray(known)[np.concatenate(chosen)]
    return answers, answer_scores(label_scores, answers, known)


def answer_scores(
    label_scores: np.ndarray, answers: np.ndarray, known: Sequence[Sequence[int]] | None = None
) -> np.ndarray:
    """Log-probabilities (N,) of given answers (N, n_columns); see :func:`best_labels`."""
    scores = np.take_along_axis(label_scores, answers, axis=1).sum(axis=1)
    if known is None:
        return scores
    parts = [logsumexp(joint, axis=1) for joint in _joint_scores(label_scores, known)]
    return scores - np.concatenate(parts)


def _joint_scores(label_scores: np.ndarray, known: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
    """The summed scores (n, C) of all combinations, for some utterances after the other."""
    table = np.asarray(known)
    n = max(1, CELLS // table.size)
    for start in range(0, max(len(label_scores), 1), n):
        yield label_scores[start : start + n][:, table].sum(axis=2)
