"""Metrics with SUPERB's definitions (Yang et al. 2021, arXiv 2105.01051), and their intervals.

Every metric but F1 over classes is a ratio of two sums over utterances. Predictions files keep both
terms for each utterance, so that a metric can be computed, compared and resampled from them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import jiwer
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from speechprompt.tasks.classification import split_answer
from speechprompt.tasks.sequences import parse_slots

__all__ = [
    "MAIN_METRIC",
    "AnyMetric",
    "MacroF1",
    "Metric",
    "Score",
    "count_errors",
    "encode_classes",
    "in_percent",
    "metrics_of",
    "resample",
    "score",
    "score_draws",
    "score_gain",
    "slot_type_f1",
    "slot_value_errors",
]

Columns = Mapping[str, np.ndarray]
Samples = Iterable[np.ndarray | slice]  # rows of utterances
RESAMPLES = 2000
Z = 1.959964  # of 95 % in a normal distribution
MAIN_METRIC = {"classification": "acc", "transcription": "wer", "slot_filling": "f1"}


class Score(BaseModel):
    """A metric as a fraction, its 95 % interval over utterances, and their number."""

    model_config = ConfigDict(extra="forbid")

    value: float
    interval: tuple[float, float]
    n: int = Field(ge=0, lt=2**63)

    def columns(self, value: str = "value", prefix: str = "") -> dict[str, float]:
        """Columns of a table: the value, and the interval's bounds as low and high."""
        low, high = self.interval
        return {value: self.value, f"{prefix}low": low, f"{prefix}high": high}


def in_percent(value: float, interval: Sequence[float], sign: str = "") -> str:
    """Write a fraction and its interval in percent, such as ``12.34 [11.20, 13.51]``.

    Args:
        value: the fraction.
        interval: its bounds.
        sign: text between the value and the interval, such as `` %``.
    """
    value, low, high = (round(100 * part, 2) + 0.0 for part in (value, *interval))  # no -0.00
    return f"{value:.2f}{sign} [{low:.2f}, {high:.2f}]"


@dataclass(frozen=True)
class Metric:
    """A metric as a ratio of sums over utterances.

    Attributes:
        counted: column whose sum is the numerator.
        total: column whose sum is the denominator; None is the number of utterances.
        complement: whether the metric is one minus the ratio.
        higher_is_better: whether a higher value is better.
    """

    counted: str
    total: str | None = None
    complement: bool = False
    higher_is_better: bool = False

    def values(self, columns: Columns, samples: Samples) -> np.ndarray:
        """The metric of each sample of the utterances; the ratio is 0 where the denominator is."""
        counted, total = self._terms(columns)
        sums = np.array([(counted[rows].sum(), total[rows].sum()) for rows in samples])
        over = sums[:, 1] > 0
        ratio = np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=over)
        return 1.0 - ratio if self.complement else ratio

    def size(self, columns: Columns) -> int:
        """Number of utterances."""
        return np.shape(columns[self.counted])[-1]

    def _terms(self, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        counted = np.atleast_2d(columns[self.counted]).astype(float).mean(axis=0)
        if self.total is None:
            return counted, np.ones_like(counted)
        return counted, np.atleast_2d(columns[self.total]).astype(float).mean(axis=0)


@dataclass(frozen=True)
class MacroF1:
    """F1 of each class that occurs in the references, averaged over these classes.

    Attributes:
        column: the label column whose values are the classes; empty takes whole answers.
    """

    column: str = ""
    higher_is_better: ClassVar[bool] = True

    def values(self, columns: Columns, samples: Samples) -> np.ndarray:
        """The metric of each sample of the utterances, as a mean over the seeds."""
        # (seeds, n) each
        wanted, given = (np.atleast_2d(columns[name]) for name in _class_columns(self.column))
        size = int(max(wanted.max(), given.max())) + 1
        n_seeds, n = wanted.shape
        # Each pair of classes that occurs, of all seeds one after the other.
        codes = (np.arange(n_seeds)[:, None] * size + wanted) * size + given
        pairs, rows_of = np.unique(codes, return_inverse=True)
        rows_of = rows_of.reshape(n_seeds, n)
        seed_class, answer = pairs // size, pairs % size
        same_seed = seed_class // size * size + answer
        hits = seed_class == same_seed
        result = []
        for rows in samples:
            count = np.bincount(rows_of[:, rows].ravel(), minlength=len(pairs)).astype(float)
            of_class = np.bincount(seed_class, count, n_seeds * size)
            answered = np.bincount(same_seed, count, n_seeds * size)
            right = np.bincount(seed_class[hits], count[hits], n_seeds * size)
            f1 = 2 * right / np.maximum(of_class + answered, 1)
            f1, present = (x.reshape(n_seeds, size) for x in (f1, of_class > 0))
            result.append(float((f1 * present).sum(1).mean() / present[0].sum()))
        return np.array(result)

    def size(self, columns: Columns) -> int:
        """Number of utterances."""
        return np.shape(columns[_class_columns(self.column)[0]])[-1]


AnyMetric = Metric | MacroF1


def metrics_of(columns: Sequence[str]) -> dict[str, AnyMetric]:
    """The metrics that can be computed from a predictions file's columns, the main one first.

    - ``acc``: share of utterances whose whole answer is right; with several label columns this is
      SUPERB's intent accuracy, and ``acc_{column}`` is the accuracy of one column.
    - ``macro_f1`` and ``macro_f1_{column}``: F1 averaged over the classes, each counted alike.
    - ``wer`` and ``cer``: edits, divided by the words and characters of the references.
    - ``f1``: F1 of the sets of slot types, averaged over utterances.
    - ``slot_value_cer``: edits of slot values, divided by the characters of the references' values.
    - ``invalid``: share of utterances whose free decoding is not a possible answer.
    """
    known: dict[str, AnyMetric] = {"f1": Metric("slot_type_f1", higher_is_better=True)}
    classified = [name for name in columns if name == "errors" or name.startswith("errors_")]
    for name in classified:
        key = name.replace("errors", "acc", 1)
        known[key] = Metric(name, complement=True, higher_is_better=True)
    for name in classified:
        key = name.replace("errors", "macro_f1", 1)
        known[key] = MacroF1(name.removeprefix("errors").removeprefix("_"))
    known["wer"] = Metric("word_errors", "words")
    known["cer"] = Metric("character_errors", "characters")
    known["slot_value_cer"] = Metric("slot_value_errors", "slot_value_characters")
    known["invalid"] = Metric("invalid")
    return {
        name: metric
        for name, metric in known.items()
        if isinstance(metric, MacroF1) or metric.counted in columns
    }


def count_errors(
    task_type: str, columns: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]
) -> dict[str, list[float]]:
    """Count what the metrics sum over utterances.

    Args:
        task_type: classification, transcription or slot_filling.
        columns: the label columns.
        references: right answers as text.
        hypotheses: given answers as text.

    Returns:
        A number for each utterance, by column of the predictions file.
    """
    count: Callable[[str, str], dict[str, float]] = {
        "classification": lambda truth, guess: _classified(columns, truth, guess),
        "transcription": _transcribed,
        "slot_filling": _filled,
    }[task_type]
    rows = [count(truth, guess) for truth, guess in zip(references, hypotheses, strict=True)]
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def encode_classes(
    columns: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]
) -> dict[str, np.ndarray]:
    """Number the classes of right and given answers of a classification.

    Args:
        columns: the label columns.
        references: right answers as text.
        hypotheses: given answers as text; one that is not valid is a class that is never right.

    Returns:
        A number for each utterance, by the columns that :class:`MacroF1` reads.
    """
    sides = {"": (references, hypotheses)}
    if len(columns) > 1:
        wanted, found = (
            [split_answer(answer, len(columns)) for answer in side]
            for side in (references, hypotheses)
        )
        for i, column in enumerate(columns):
            sides[column] = [row[i] for row in wanted], [row[i] for row in found]
    result: dict[str, np.ndarray] = {}
    for column, (truths, guesses) in sides.items():
        _, codes = np.unique([*truths, *guesses], return_inverse=True)
        parts = (codes[: len(truths)], codes[len(truths) :])
        result |= dict(zip(_class_columns(column), parts, strict=True))
    return result


def slot_type_f1(reference: str, hypothesis: str) -> float:
    """F1 of the sets of slot types of two marked texts; 1 where both have none (SUPERB)."""
    truth, guess = ({kind for kind, _ in parse_slots(text)[1]} for text in (reference, hypothesis))
    if not truth and not guess:
        return 1.0
    return 2 * len(truth & guess) / (len(truth) + len(guess))


def slot_value_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Edits of the slot values of two marked texts, and characters of the reference's (SUPERB).

    Each value of the reference is compared with the hypothesis's value of the same type that has
    the lowest character error rate, or with the empty text where the hypothesis has no such slot.
    """
    errors = characters = 0
    guesses = parse_slots(hypothesis)[1]
    for kind, value in parse_slots(reference)[1]:
        candidates = [guess for other, guess in guesses if other == kind] or [""]
        errors += min(_edits(jiwer.process_characters, value, guess) for guess in candidates)
        characters += len(value)
    return errors, characters


def score(metric: AnyMetric, columns: Columns, seed: int = 0) -> Score:
    """Compute a metric with a percentile bootstrap interval over utterances.

    Where all utterances are right, or all are wrong, every resample is like the sample. The
    interval is then Wilson's, which says what their number leaves open.

    Args:
        metric: the metric.
        columns: [n] or [seeds, n] per column; seeds are averaged, a ratio's per utterance.
        seed: seed of the resampling.
    """
    value, draws = _measured(metric, columns, seed)
    found = score_draws(value, draws, metric.size(columns))
    # A ratio, such as a word error rate, has no bound above.
    bounds = (0.0,) if isinstance(metric, Metric) and metric.total is not None else (0.0, 1.0)
    return _widened(found, 0.0, 1.0) if value in bounds else found


def score_gain(metric: AnyMetric, columns: Columns, baseline: Columns) -> Score:
    """Compute how much better a result is than a baseline, with a paired bootstrap interval.

    Args:
        metric: the metric to compare.
        columns: columns of the result, see :func:`score`.
        baseline: columns of the baseline, of the same utterances in the same order.

    Returns:
        The gain; above 0 the result is better, whichever way the metric points.
    """
    sign = 1 if metric.higher_is_better else -1
    value, draws = _measured(metric, columns)
    other, other_draws = _measured(metric, baseline)
    gains = sign * (draws - other_draws)
    return _widened(score_draws(sign * (value - other), gains, metric.size(columns)), -1.0, 1.0)


def resample(n: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw the resamples of a bootstrap: row numbers ``[n]`` of n utterances with replacement."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, n, n) for _ in range(RESAMPLES))


def score_draws(value: float | np.ndarray, draws: np.ndarray, n: int) -> Score:
    """The score of a value, with the percentile interval of its resamples."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return Score(value=float(value), interval=(float(low), float(high)), n=n)


def _widened(found: Score, least: float, most: float) -> Score:
    """A score whose interval is Wilson's where that of the bootstrap has no width.

    Wilson's interval (1927) of no case in n, or of n in n, reaches z² / (n + z²) away.
    """
    low, high = found.interval
    if high - low > 1e-12:
        return found
    margin = Z**2 / (found.n + Z**2)
    bounds = min(least, low), max(most, high)
    interval = max(low - margin, bounds[0]), min(high + margin, bounds[1])
    return found.model_copy(update={"interval": interval})


def _measured(metric: AnyMetric, columns: Columns, seed: int = 0) -> tuple[float, np.ndarray]:
    """The metric, and that of every resample; the same seed and size give the same resamples."""
    values = metric.values(columns, chain([slice(None)], resample(metric.size(columns), seed)))
    return float(values[0]), values[1:]


def _class_columns(column: str) -> tuple[str, str]:
    """Names of the columns with the right class and the given class."""
    return f"class_{column}", f"answered_class_{column}"


def _classified(columns: Sequence[str], truth: str, guess: str) -> dict[str, float]:
    row: dict[str, float] = {"errors": int(truth != guess)}
    if len(columns) > 1:
        wanted, found = (split_answer(answer, len(columns)) for answer in (truth, guess))
        triples = zip(columns, wanted, found, strict=True)
        row |= {f"errors_{column}": int(a != b) for column, a, b in triples}
    return row


def _transcribed(truth: str, guess: str) -> dict[str, float]:
    return {
        "word_errors": _edits(jiwer.process_words, truth, guess),
        "words": len(truth.split()),
        "character_errors": _edits(jiwer.process_characters, truth, guess),
        "characters": len(truth),
    }


def _filled(truth: str, guess: str) -> dict[str, float]:
    errors, characters = slot_value_errors(truth, guess)
    return {
        "slot_type_f1": slot_type_f1(truth, guess),
        "slot_value_errors": errors,
        "slot_value_characters": characters,
        **_transcribed(parse_slots(truth)[0], parse_slots(guess)[0]),
    }


def _edits(process: Callable, truth: str, guess: str) -> int:
    found = process(truth, guess)
    return found.substitutions + found.deletions + found.insertions
