"""Labels of several columns that belong together: answers are combinations that train has."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax, logsumexp

__all__ = ["best_labels", "closed_combinations"]

# Numbers that are compared at once.
CELLS = 2**22


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The likeliest answers whose columns are scored apart.

    Args:
        label_scores: (N, n_labels) log-probabilities, each within its column.
        columns: label indices of each column.
        known: the combinations (C, n_columns) that an answer may be; None for all.

    Returns:
        (N, n_columns) labels; (N,) the answers' log-probabilities; and (N, n_labels) those of the
        labels, of which some are higher than before where ``known`` rules others out.
    """
    if known is None:
        best = [np.asarray(column)[label_scores[:, column].argmax(axis=1)] for column in columns]
        answers = np.stack(best, axis=1)
        scores = np.take_along_axis(label_scores, answers, axis=1).sum(axis=1)
        return answers, scores, label_scores
    table = np.asarray(known)
    n = max(1, CELLS // table.size)
    parts = [_best_known(label_scores[i : i + n], table) for i in range(0, len(label_scores), n)]
    if not parts:
        return np.zeros((0, len(columns)), int), np.zeros(0), label_scores
    answers, scores, within = map(np.concatenate, zip(*parts, strict=True))
    return answers, scores, within


def _best_known(
    label_scores: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    joint = log_softmax(label_scores[:, known].sum(axis=2), axis=1)
    within = np.full_like(label_scores, -np.inf)
    for label in np.unique(known):
        within[:, label] = logsumexp(joint[:, (known == label).any(axis=1)], axis=1)
    return known[joint.argmax(axis=1)], joint.max(axis=1), within
