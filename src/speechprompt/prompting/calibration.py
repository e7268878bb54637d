"""Calibration of probabilities by a temperature (Guo et al. 2017, arXiv 1706.04599)."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["calibrated", "checked_temperature", "fit_temperature"]

LOWEST, HIGHEST = 0.05, 20.0


def calibrated(label_scores: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities of labels at a temperature.

    Args:
        label_scores: log-probabilities ``[..., n_labels]``.
        temperature: above 1 they get flatter, below 1 steeper, at 1 they stay.
    """
    if temperature == 1:
        return np.exp(label_scores)
    scores = np.asarray(label_scores, np.float64) / temperature
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


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


def fit_temperature(label_scores: np.ndarray, labels: Sequence[int]) -> float:
    """The temperature at which right labels of held-out utterances are likeliest.

    Args:
        label_scores: log-probabilities ``[n, n_labels]``.
        labels: index of the right label of each utterance.
    """
    from scipy.optimize import minimize_scalar

    rows, right = np.arange(len(labels)), np.asarray(labels)

    def loss(log_temperature: float) -> float:
        shares = calibrated(label_scores, float(np.exp(log_temperature)))[rows, right]
        return -float(np.log(np.maximum(shares, 1e-300)).mean())

    bounds = (np.log(LOWEST), np.log(HIGHEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return round(float(np.exp(found.x)), 4)
