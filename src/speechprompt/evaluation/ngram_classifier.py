"""Logistic regression on n-grams of units, in bounded time and memory.

It sees the units that the unit LM sees, and their order within three units only.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Self, TypeAlias

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.special import log_softmax
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from speechprompt.errors import ArtefactError
from speechprompt.runtime.progress import progress

__all__ = ["Ngrams", "Setting", "answer", "choose_setting"]

GRID_C = (0.1, 0.3, 1.0, 3.0)
MAX_ITERATIONS = 3000
# The solver keeps some 25 vectors of as many numbers as there are coefficients: 200 MB here.
MAX_COEFFICIENTS = 1_000_000
MAX_ROTATED = 2000
Units = Sequence[int] | np.ndarray
Features: TypeAlias = sparse.csr_matrix | np.ndarray
Model: TypeAlias = LogisticRegression | DummyClassifier


@dataclass(frozen=True)
class Ngrams:
    """Counts of 1-grams to 3-grams, one column per n-gram of train.

    An utterance has as many rows as it is heard times, one after the other.

    Attributes:
        train: utterances to learn from.
        dev: utterances by which settings are chosen.
        scored: utterances of each split to answer.
        times: how many times an utterance is heard.
    """

    train: sparse.csr_matrix
    dev: sparse.csr_matrix
    scored: dict[str, sparse.csr_matrix]
    times: int = 1

    @classmethod
    def count(
        cls,
        train: Sequence[Units],
        dev: Sequence[Units],
        scored: Mapping[str, Sequence[Units]],
        times: int = 1,
    ) -> Self:
        """Count the n-grams of units; from much data, those in one utterance only are left out.

        Args:
            train: units of the utterances to learn from.
            dev: units of the utterances by which settings are chosen.
            scored: units of each split to answer.
            times: how many times an utterance is heard.
        """
        vectorizer = CountVectorizer(
            preprocessor=lambda units: " ".join(map(str, units)),
            token_pattern=r"\d+",
            ngram_range=(1, 3),
            dtype=np.float64,
            min_df=2 if len(train) > 1000 else 1,
        )
        counts = vectorizer.fit_transform(train)
        others = {split: vectorizer.transform(units) for split, units in scored.items()}
        return cls(counts, vectorizer.transform(dev), others, times)

    def are_columns_of(self, features: Features) -> bool:
        """Whether features have a column for each n-gram, and no others."""
        return sparse.issparse(features) and features.shape[1] == self.train.shape[1]

    def classes(self, utterances: np.ndarray) -> np.ndarray:
        """The class of each row, from those of the utterances."""
        return np.repeat(utterances, self.times)

    def decide(self, model: Model, rows: Features) -> tuple[np.ndarray, np.ndarray]:
        """The classes of utterances ``[n]`` and their log-probabilities, over what is heard."""
        table = np.asarray(model.predict_log_proba(rows))
        if self.times > 1:
            means = table.reshape(-1, self.times, table.shape[1]).mean(axis=1)
            table = log_softmax(means, axis=1)
        return model.classes_[table.argmax(axis=1)], table.max(axis=1)


@dataclass(frozen=True)
class Setting:
    """A setting of the classifier, as chosen on dev.

    Attributes:
        binary: whether an n-gram counts once per utterance.
        strength: C, the inverse of the penalty.
        guesses: answers to dev ``[n]``.
        dev_accuracy: share of them that is right.
    """

    binary: bool
    strength: float
    guesses: np.ndarray
    dev_accuracy: float

    def summary(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        features = "binary" if self.binary else "count"
        return {"features": features, "C": self.strength, "dev_accuracy": self.dev_accuracy}


def choose_setting(
    ngrams: Ngrams, train: np.ndarray, dev: np.ndarray, balance: bool, name: str
) -> Setting:
    """Choose binary or count features, and C from a fixed grid, on dev.

    The simplest setting within one standard error of the best is chosen (one-standard-error rule).
    A stronger penalty is simpler; then binary features are. See Hastie, Tibshirani and Friedman,
    The Elements of Statistical Learning, section 7.10.

    Args:
        ngrams: n-grams of the utterances.
        train: class of each utterance of train ``[n]``.
        dev: class of each utterance of dev.
        balance: weight the classes equally.
        name: what is answered, for the progress.

    Raises:
        ArtefactError: the regression did not converge.
    """
    tried: list[Setting] = []
    first: Model | None = None
    classes = ngrams.classes(train)
    grid = list(product((True, False), GRID_C))
    for binary, strength in progress(grid, f"n-gram baseline: {name}, features and C", unit="fit"):
        if strength == GRID_C[0]:
            features, (dev_features,) = _features(
                _as_kind(ngrams.train, binary), [_as_kind(ngrams.dev, binary)], classes
            )
            # Counts have a solution near that of binary features, and a penalty near that of the
            # next stronger one: few iterations lead from one to the other.
            model = first if ngrams.are_columns_of(features) else None
        model = _fit(features, classes, strength, balance, model)
        first = first or model
        guesses, _ = ngrams.decide(model, dev_features)
        tried.append(Setting(binary, strength, guesses, float((guesses == dev).mean())))
    best = max(setting.dev_accuracy for setting in tried)
    enough = best - np.sqrt(best * (1 - best) / len(dev))
    good = [setting for setting in tried if setting.dev_accuracy >= enough]
    return min(good, key=lambda setting: (setting.strength, not setting.binary))


def answer(
    ngrams: Ngrams, setting: Setting, classes: np.ndarray, balance: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Fit the chosen setting on train, or on train and dev together, and answer the scored splits.

    Args:
        ngrams: n-grams of the utterances.
        setting: what :func:`choose_setting` has chosen.
        classes: class of each utterance of train and then, if it is learnt from, of dev.
        balance: weight the classes equally.

    Returns:
        For each split the classes ``[n]`` and their log-probabilities.

    Raises:
        ArtefactError: the regression did not converge.
    """
    classes = ngrams.classes(classes)
    known = sparse.vstack([ngrams.train, ngrams.dev], format="csr")[: len(classes)]
    known = _as_kind(known, setting.binary)
    scored = [_as_kind(counts, setting.binary) for counts in ngrams.scored.values()]
    features, others = _features(known, scored, classes)
    model = _fit(features, classes, setting.strength, balance, None)
    found = (ngrams.decide(model, rows) for rows in others)
    return dict(zip(ngrams.scored, found, strict=True))


def _as_kind(counts: sparse.csr_matrix, binary: bool) -> sparse.csr_matrix:
    # Not `sign`, which sorts the indices of its input, so that sums are rounded differently.
    data = np.ones_like(counts.data) if binary else counts.data
    return sparse.csr_matrix((data, counts.indices, counts.indptr), counts.shape)


def _features(
    fitted: sparse.csr_matrix, others: Sequence[sparse.csr_matrix], classes: np.ndarray
) -> tuple[Features, Sequence[Features]]:
    """Make the features of the rows to fit and of other rows so few that memory is bounded.

    The penalised solution lies in the space of the fitted rows. With few rows, their coordinates in
    an orthonormal basis of this space therefore give the same answers as the n-grams. With many
    rows, the most frequent n-grams are kept.
    """
    n_kept = MAX_COEFFICIENTS // len(np.unique(classes))
    if fitted.shape[1] <= n_kept:
        return fitted, others
    if fitted.shape[0] <= MAX_ROTATED:
        values, vectors = eigh((fitted @ fitted.T).toarray())
        inside = values > 1e-10 * values[-1]
        basis = vectors[:, inside] / np.sqrt(values[inside])
        return vectors[:, inside] * np.sqrt(values[inside]), [
            (rows @ fitted.T) @ basis for rows in others
        ]
    order = np.argsort(-np.asarray(fitted.sum(axis=0)).ravel(), kind="stable")
    kept = np.sort(order[:n_kept])
    return fitted[:, kept], [rows[:, kept] for rows in others]


def _fit(
    features: Features,
    classes: np.ndarray,
    strength: float,
    balance: bool,
    start: Model | None,
) -> Model:
    """Fit, from the solution of a similar fit of the same features, where there is one."""
    if len(np.unique(classes)) == 1:
        return DummyClassifier().fit(features, classes)
    model = LogisticRegression(
        C=strength,
        class_weight="balanced" if balance else None,
        max_iter=MAX_ITERATIONS,
        warm_start=True,
    )
    if isinstance(start, LogisticRegression):
        model.coef_, model.intercept_ = start.coef_, start.intercept_
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        # Many classes are still classes.
        warnings.filterwarnings("ignore", "The number of unique classes is greater")
        try:
            return model.fit(features, classes)
        except ConvergenceWarning as warning:
            raise ArtefactError(f"n-gram baseline: C={strength}: {warning}") from None
