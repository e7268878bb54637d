"""Whether probabilities are as high as answers are right, and whether unknown words stand out."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from speechprompt.prompting.calibration import Columns, answer_shares, calibrated

__all__ = ["Calibration", "OperatingPoint", "area_under_curve", "calibration_error", "equal_error"]

# Labels of a classification that stand for all that is none of the others.
UNKNOWN = ("unknown", "_unknown_")
N_BINS = 15
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class OperatingPoint(BaseModel):
    """What a threshold does to a split.

    Attributes:
        threshold: least probability of an answer.
        answered: share of the utterances that keep their answer.
        right: accuracy of these; None where there are none.
    """

    model_config = ConfigDict(extra="forbid")

    threshold: float
    answered: float
    right: float | None


class Calibration(BaseModel):
    """Calibration of the probabilities of a split's answers, of a classification.

    Attributes:
        temperature: what the log-probabilities of labels are divided by, fitted on valid.
        error_before, error_after: expected calibration error without and with it: the mean
            distance of confidence and accuracy in 15 bins of the confidence.
        curve: what thresholds do.
        auroc: area under the receiver operating characteristic of known against unknown words, by
            one minus the probability of the label for the unknown; None without that label.
        equal_error_rate: share of errors where known and unknown words are mistaken equally often.
    """

    model_config = ConfigDict(extra="forbid")

    temperature: float = Field(gt=0)
    error_before: float
    error_after: float
    curve: list[OperatingPoint] = []
    auroc: float | None = None
    equal_error_rate: float | None = None

    @classmethod
    def measure(
        cls,
        label_scores: np.ndarray,
        answers: Sequence[list[int]],
        labels: Sequence[list[int]],
        names: Sequence[str],
        temperature: float,
        columns: Columns = None,
        combinations: Columns = None,
    ) -> Self:
        """Measure the calibration of some utterances.

        Args:
            label_scores: log-probabilities ``[n, n_labels]``.
            answers: the labels of each answer, one for each column.
            labels: the right ones.
            names: names of the labels.
            temperature: the fitted temperature.
            columns: labels of each column; None is one column.
            combinations: those that an answer may be; None for all.
        """
        wanted, given = np.asarray(labels), np.asarray(answers)
        right = (given == wanted).all(axis=1)
        shares = calibrated(label_scores, temperature, columns)
        both = (calibrated(label_scores, 1.0), shares)
        raw, sure = (answer_shares(one, given, combinations) for one in both)
        curve = []
        for threshold in THRESHOLDS:
            kept = sure >= threshold
            accuracy = float(right[kept].mean()) if kept.any() else None
            curve.append(
                OperatingPoint(threshold=threshold, answered=float(kept.mean()), right=accuracy)
            )
        found = cls(
            temperature=temperature,
            error_before=calibration_error(raw, right),
            error_after=calibration_error(sure, right),
            curve=curve,
        )
        unknown = next((i for i, name in enumerate(names) if name in UNKNOWN), None)
        is_known = wanted[:, 0] != unknown
        if unknown is None or is_known.all() or not is_known.any():
            return found
        known, other = 1 - shares[is_known, unknown], 1 - shares[~is_known, unknown]
        rates = {
            "auroc": area_under_curve(known, other),
            "equal_error_rate": equal_error(known, other),
        }
        return found.model_copy(update=rates)

    @classmethod
    def mean(cls, seeds: Sequence[Self]) -> Self:
        """The mean over seeds or folds."""

        def mean(blocks: Sequence[BaseModel], name: str) -> float | None:
            values = [getattr(block, name) for block in blocks]
            return None if None in values else float(np.mean(values))

        curve = [
            {name: mean(points, name) for name in OperatingPoint.model_fields}
            for points in zip(*(seed.curve for seed in seeds), strict=True)
        ]
        numbers = {name: mean(seeds, name) for name in cls.model_fields if name != "curve"}
        return cls.model_validate({**numbers, "curve": curve})


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error (Naeini et al. 2015) in 15 bins of equal width.

    Args:
        confidence: probability of each answer ``[n]``.
        right: whether each is right ``[n]``.
    """
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gaps = np.bincount(bins, confidence - right.astype(float), minlength=N_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """The probability that a positive has a higher score than a negative; ties count half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left")
    at_most = np.searchsorted(ordered, positive, "right")
    return float((below + at_most).mean() / 2 / len(negative))


def equal_error(positive: np.ndarray, negative: np.ndarray) -> float:
    """The equal error rate: where as many positives are refused as negatives are accepted."""
    thresholds = np.append(np.unique(np.concatenate((positive, negative))), np.inf)
    refused = np.searchsorted(np.sort(positive), thresholds, "left") / len(positive)
    accepted = 1 - np.searchsorted(np.sort(negative), thresholds, "left") / len(negative)
    # The rates cross between two thresholds, on the line between their points.
    i = int(np.argmax(refused >= accepted))
    if i == 0 or refused[i] == accepted[i]:
        return float((refused[i] + accepted[i]) / 2)
    ahead, behind = accepted[i - 1] - refused[i - 1], refused[i] - accepted[i]
    share = ahead / (ahead + behind)
    return float(refused[i - 1] + share * (refused[i] - refused[i - 1]))
