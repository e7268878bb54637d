"""The n-gram baseline of a classification: logistic regression on n-grams of units.

It sees the units that the unit LM sees, and their order within three units only. Where a prompt is
not better than this baseline, the language model has added nothing.
"""

import warnings
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.scored_splits import BaselineData, ScoreFiles
from speechprompt.evaluation.scores import Metrics
from speechprompt.runtime.progress import progress

__all__ = ["fit_classifier", "fit_ngram_baseline"]

GRID_C = (0.1, 0.3, 1.0, 3.0)
MAX_ITERATIONS = 3000
Units = Sequence[int] | np.ndarray


def fit_ngram_baseline(
    task: str, data: BaselineData, files: ScoreFiles, balance: bool = False
) -> Metrics:
    """Fit the n-gram baseline of a classification and score it.

    Args:
        task: name of the task.
        data: utterances to learn from and to answer.
        files: files to write.
        balance: weight the classes equally.

    Raises:
        ArtefactError: the regression did not converge.
    """
    details, answers = fit_classifier(
        (data.train.units, data.train.references),
        (data.dev.units, data.dev.references),
        {split: examples.units for split, examples in data.scored.items()},
        balance=balance,
    )
    return data.write_scores(files, task, "ngram_logistic_regression", answers, details)


def fit_classifier(
    train: tuple[Sequence[Units], Sequence[str]],
    dev: tuple[Sequence[Units], Sequence[str]],
    scored: Mapping[str, Sequence[Units]],
    balance: bool = False,
) -> tuple[dict[str, object], dict[str, tuple[list[str], np.ndarray]]]:
    """Fit a classifier of whole answers on 1-grams to 3-grams of units.

    Binary or count features, and C from a fixed grid, are chosen on dev. The chosen setting is
    fitted again on train and dev together. With several label columns, every combination of labels
    in train is a class: this was more accurate than one classifier for each column.

    Args:
        train: units and answers of the utterances to learn from.
        dev: units and answers of the utterances by which the setting is chosen.
        scored: units of each split to answer.
        balance: weight the classes equally.

    Returns:
        Its ``model``, the kind of ``features``, ``binary`` or ``count``, the strength ``C``, the
        number ``n_features`` of different n-grams, and its ``dev_accuracy``; and for each split the
        answers ``[n]``, texts as in train, with their log-probabilities ``[n]``.

    Raises:
        ArtefactError: the regression did not converge.
    """
    vectorizer = CountVectorizer(
        preprocessor=lambda units: " ".join(map(str, units)),
        token_pattern=r"\d+",
        ngram_range=(1, 3),
        dtype=np.float64,
        min_df=2 if len(train[0]) > 1000 else 1,
    )
    counts, dev_counts = vectorizer.fit_transform(train[0]), vectorizer.transform(dev[0])
    train_answers, dev_answers = np.asarray(train[1]), np.asarray(dev[1])
    grid = list(product((True, False), GRID_C))
    accuracies = []
    with threadpool_limits(1):
        model = None
        for binary, strength in progress(grid, "n-gram baseline: features and C", unit="fit"):
            model = _fit(_features(counts, binary), train_answers, strength, balance, model)
            guesses = model.predict(_features(dev_counts, binary))
            accuracies.append(float((guesses == dev_answers).mean()))
        chosen = _choose(grid, accuracies, len(dev_answers))
        binary, strength = grid[chosen]
        features = _features(sparse.vstack([counts, dev_counts]), binary)
        answers = np.concatenate([train_answers, dev_answers])
        final = _fit(features, answers, strength, balance, None)
        tables = {
            split: final.predict_log_proba(_features(vectorizer.transform(units), binary))
            for split, units in scored.items()
        }
    details: dict[str, object] = {
        "model": "logistic regression on unit 1-3-grams",
        "features": "binary" if binary else "count",
        "C": strength,
        "n_features": counts.shape[1],
        "dev_accuracy": accuracies[chosen],
    }
    best = {split: final.classes_[table.argmax(axis=1)].tolist() for split, table in tables.items()}
    return details, {split: (best[split], table.max(axis=1)) for split, table in tables.items()}


def _choose(grid: Sequence[tuple[bool, float]], accuracies: Sequence[float], n_dev: int) -> int:
    """Choose the simplest setting within one standard error of the best (one-standard-error rule).

    A stronger penalty is simpler; then binary features are. See Hastie, Tibshirani and Friedman,
    The Elements of Statistical Learning, section 7.10.
    """
    best = max(accuracies)
    enough = best - np.sqrt(best * (1 - best) / n_dev)
    good = [i for i, accuracy in enumerate(accuracies) if accuracy >= enough]
    return min(good, key=lambda i: (grid[i][1], not grid[i][0]))


def _features(counts: sparse.csr_matrix, binary: bool) -> sparse.csr_matrix:
    # Not `sign`, which sorts the indices of its input, so that sums are rounded differently.
    data = np.ones_like(counts.data) if binary else counts.data
    return sparse.csr_matrix((data, counts.indices, counts.indptr), counts.shape)


def _fit(
    features: sparse.csr_matrix,
    labels: np.ndarray,
    strength: float,
    balance: bool,
    previous: LogisticRegression | None,
) -> LogisticRegression:
    model = LogisticRegression(
        C=strength,
        class_weight="balanced" if balance else None,
        max_iter=MAX_ITERATIONS,
        warm_start=True,
    )
    if previous is not None and np.array_equal(previous.classes_, np.unique(labels)):
        # The next weaker penalty has a solution near this one, which takes few iterations to find.
        model.coef_, model.intercept_ = previous.coef_, previous.intercept_
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return model.fit(features, labels)
        except ConvergenceWarning as warning:
            raise ArtefactError(f"n-gram baseline: C={strength}: {warning}") from None
