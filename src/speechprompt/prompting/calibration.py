"""Calibration of probabilities by a temperature (Guo et al. 2017, arXiv 1706.04599)."""

import math
from collections.abc import Sequence

import numpy as np

from speechprompt.prompting.combinations import answer_scores

__all__ = ["Columns", "answer_shares", "calibrated", "checked_temperature", "fit_temperature"]

LOWEST, HIGHEST = 0.05, 20.0
LEAST = 1e-300  # whose logarithm can be computed with
# Indices of the labels of each label column; None is one column with all of them.
Columns = Sequence[Sequence[int]] | None


def calibrated(label_scores: np.ndarray, temperature: float, columns: Columns = None) -> np.ndarray:
    """Probabilities of labels, each within its column, at a temperature.

    Args:
        label_scores: log-probabilities ``[..., n_labels]``.
        temperature: above 1 they get flatter, below 1 steeper, at 1 they stay.
        columns: labels of each column.
    """
    if temperature == 1:
        return np.exp(label_scores)
    scores = np.asarray(label_scores, np.float64) / temperature
    found = np.empty_like(scores)
    for column in columns or [range(scores.shape[-1])]:
        own = scores[..., column]
        shares = np.exp(own - own.max(axis=-1, keepdims=True))
        found[..., column] = shares / shares.sum(axis=-1, keepdims=True)
    return found


def answer_shares(shares: np.ndarray, answers: np.ndarray, known: Columns = None) -> np.ndarray:
    """Probabilities ``[n]`` of answers.

    Args:
        shares: probabilities of labels ``[n, n_labels]``, each within its column.
        answers: label of each column ``[n, n_columns]``.
        known: the combinations that an answer may be; None for all.
    """
    return np.exp(answer_scores(np.log(np.maximum(shares, LEAST)), answers, known))


def checked_temperature(value: object) -> float:
    """A temperature from the metadata of a prompt; 1 where it has none.

    Raises:
        ValueError: it is no number above 0.
    """
    if value is None:
        return 1.0
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"temperature: expected a number above 0, found {value!r:.100}")
    return float(value)


def fit_temperature(
    label_scores: np.ndarray,
    labels: Sequence[int] | Sequence[list[int]],
    columns: Columns = None,
) -> float:
    """The temperature at which right answers to held-out utterances are likeliest.

    Args:
        label_scores: log-probabilities ``[n, n_labels]``.
        labels: the right label of each utterance, or that of each column.
        columns: labels of each column.
    """
    from scipy.optimize import minimize_scalar

    right = np.asarray(labels).reshape(len(labels), -1)

    def loss(log_temperature: float) -> float:
        shares = calibrated(label_scores, float(np.exp(log_temperature)), columns)
        return -float(np.log(answer_shares(shares, right)).mean())

    bounds = (np.log(LOWEST), np.log(HIGHEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return round(float(np.exp(found.x)), 4)
