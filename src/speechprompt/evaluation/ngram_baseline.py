"""The n-gram baseline of a classification: logistic regression on n-grams of units.

Where a prompt is not better than this baseline, the language model has added nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from speechprompt.evaluation.ngram_classifier import Ngrams, Setting, Units, answer, choose_setting
from speechprompt.evaluation.scored_splits import BaselineData, ScoreFiles
from speechprompt.evaluation.scores import Metrics
from speechprompt.tasks.classification import COLUMN_SEPARATOR, split_answer
from speechprompt.tasks.examples import Examples, few_examples

__all__ = ["fit_classifier", "fit_ngram_baseline"]

# Stands for the whole answer where columns have their names.
WHOLE = ""


def fit_ngram_baseline(
    task: str,
    data: BaselineData,
    files: ScoreFiles,
    balance: bool = False,
    utterances: int | None = None,
    seed: int = 0,
) -> Metrics:
    """Fit the n-gram baseline of a classification and score it.

    Args:
        task: name of the task.
        data: utterances to learn from and to answer.
        files: files to write.
        balance: weight the classes equally.
        utterances: number of train utterances to learn from, as ``training.utterances`` of a
            prompt has it; nothing is learnt from dev then.
        seed: seed of their draw.

    Raises:
        ArtefactError: the regression did not converge.
        CorpusError: train has fewer utterances.
    """
    train = data.train if utterances is None else few_examples(data.train, utterances, seed)
    details, answers = fit_classifier(
        (_heard(train), train.references),
        (_heard(data.dev), data.dev.references),
        {split: _heard(examples) for split, examples in data.scored.items()},
        times=1 + len(train.renditions[0] if train.renditions else ()),
        columns=data.labels.columns,
        balance=balance,
        learns_dev=utterances is None,
    )
    return data.write_scores(files, task, "ngram_logistic_regression", answers, details)


def fit_classifier(
    train: tuple[Sequence[Units], Sequence[str]],
    dev: tuple[Sequence[Units], Sequence[str]],
    scored: Mapping[str, Sequence[Units]],
    columns: Sequence[str] = ("label",),
    balance: bool = False,
    learns_dev: bool = True,
    times: int = 1,
) -> tuple[dict[str, Any], dict[str, tuple[list[str], np.ndarray]]]:
    """Fit classifiers of answers on 1-grams to 3-grams of units.

    Where an utterance is heard several times, as with renditions, all are learnt from. Answers are
    the best by the mean of the log-probabilities, as a prompt's are.

    With several label columns, ``joint`` has one classifier, whose classes are the whole answers of
    train; ``per column`` has one classifier for each column. ``per column`` is chosen where it has
    more whole answers right on dev, by more than the standard error of the difference. ``joint`` is
    not tried where train has too few of dev's answers to win. What is chosen is fitted again, on
    train and dev together.

    Args:
        train: units and answers of the utterances to learn from.
        dev: units and answers of the utterances by which settings are chosen.
        scored: units of each split to answer.
        columns: label columns of an answer.
        balance: weight the classes equally.
        learns_dev: whether dev is learnt from in the end; otherwise it only chooses.
        times: how many times each utterance is heard; its units follow one another.

    Returns:
        Its ``model``, the number ``n_features`` of different n-grams, how it ``answers``, the
        ``dev_accuracy`` of whole answers by all ways that were ``tried``, and the setting: the kind
        of ``features``, ``binary`` or ``count``, and the strength ``C``, for each column where it
        answers per column. And for each split the answers ``[n]``, texts as in train, with their
        log-probabilities ``[n]``.

    Raises:
        ArtefactError: the regression did not converge.
    """
    ngrams = Ngrams.count(train[0], dev[0], scored, times)
    wholes, dev_wholes = np.asarray(train[1]), np.asarray(dev[1])
    ways = {"joint": [WHOLE]}
    targets = {WHOLE: (wholes, dev_wholes)}
    if len(columns) > 1:
        ways = {"per column": list(columns)} | ways
        parts = [
            np.array([split_answer(a, len(columns)) for a in side]) for side in (wholes, dev_wholes)
        ]
        targets |= {c: (parts[0][:, i], parts[1][:, i]) for i, c in enumerate(columns)}
    settings: dict[str, Setting] = {}
    right: dict[str, np.ndarray] = {}
    with threadpool_limits(1):
        for way, names in ways.items():
            if right and np.isin(dev_wholes, wholes).mean() < right["per column"].mean():
                continue  # joint classes can reach no more
            for name in names:
                what = name or "answer"
                settings[name] = choose_setting(ngrams, *targets[name], balance, what)
            guesses = _join([settings[name].guesses for name in names])
            right[way] = np.array(guesses) == dev_wholes
        way = _choose(right)
        found = [
            answer(ngrams, settings[name], np.concatenate(targets[name][: 1 + learns_dev]), balance)
            for name in ways[way]
        ]
    details: dict[str, Any] = {
        "model": "logistic regression on unit 1-3-grams",
        "n_features": ngrams.train.shape[1],
    }
    if len(columns) > 1:
        tried = {name: float(rows.mean()) for name, rows in right.items()}
        details |= {"answers": way, "tried": tried, "dev_accuracy": tried[way]}
    if way == "joint":
        details |= settings[WHOLE].summary()
    else:
        details["columns"] = {name: settings[name].summary() for name in columns}
    return details, {
        split: (
            _join([by_split[split][0] for by_split in found]),
            np.sum([by_split[split][1] for by_split in found], axis=0),
        )
        for split in scored
    }


def _heard(examples: Examples) -> list[Units]:
    """All units of each utterance: its own, and those of its renditions."""
    return [units for heard in examples.heard() for units in heard]


def _choose(right: Mapping[str, np.ndarray]) -> str:
    """Choose how to answer, by whether each answer to dev is right."""
    if len(right) == 1:
        return next(iter(right))
    gains = right["per column"].astype(float) - right["joint"]
    return "per column" if gains.mean() > gains.std() / np.sqrt(len(gains)) else "joint"


def _join(columns: Sequence[np.ndarray]) -> list[str]:
    """Whole answers from the values of each column."""
    return [COLUMN_SEPARATOR.join(values) for values in zip(*columns, strict=True)]
