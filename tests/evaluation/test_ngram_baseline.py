from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from speechprompt.config.corpora import UnitsCorpus
from speechprompt.evaluation import ngram_classifier
from speechprompt.evaluation.ngram_baseline import fit_classifier, fit_ngram_baseline
from speechprompt.evaluation.scored_splits import BaselineData, ScoreFiles
from speechprompt.storage.files import read_json
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.examples import Examples, few_examples
from speechprompt.units.text_corpus import prepare_units


def sequences(rng, n):
    """Two classes that differ in the order of two units only."""
    labels = rng.integers(0, 2, n)
    units = []
    for label in labels:
        noise = rng.integers(10, 20, 6).tolist()
        units.append([*noise[:3], *((1, 2) if label else (2, 1)), *noise[3:]])
    return units, [str(label) for label in labels]


def test_order_of_neighbours_is_learnt():
    rng = np.random.default_rng(0)
    train, dev, test = (sequences(rng, n) for n in (400, 100, 100))
    answers, scores = fit_classifier(train, dev, {"test": test[0]})[1]["test"]
    assert np.mean(np.array(answers) == np.array(test[1])) > 0.95
    assert (scores <= 0).all()


def test_the_baseline_of_a_task_is_scored(tmp_path):
    rng = np.random.default_rng(0)
    train, dev, test = (sequences(rng, n) for n in (200, 50, 60))
    splits = (
        Examples([str(i) for i in range(len(units))], units, [], answers)
        for units, answers in (train, dev, test)
    )
    learnt, looked_at, scored = splits
    labels = Classification(("label",), (("0", "1"),))
    data = BaselineData(labels, learnt, looked_at, {"valid": looked_at, "test": scored})
    files = ScoreFiles(tmp_path / "predictions.parquet", tmp_path / "metrics.json")
    metrics = fit_ngram_baseline("ks", data, files)
    details, found = fit_classifier(train, dev, {"test": test[0]})
    answers, _ = found["test"]
    rows = pq.read_table(files.predictions).to_pylist()
    assert [row["split"] for row in rows] == ["valid"] * 50 + ["test"] * 60
    assert [row["prediction"] for row in rows[50:]] == answers
    assert metrics.main.value == np.mean(np.array(answers) == np.array(test[1]))
    assert metrics.details == details
    assert read_json(files.metrics)["method"] == "ngram_logistic_regression"


def test_a_baseline_of_few_learns_from_those_of_the_prompt_alone(tmp_path):
    rng = np.random.default_rng(0)
    train, dev, test = (sequences(rng, n) for n in (200, 50, 60))
    labels = Classification(("label",), (("0", "1"),))
    unlabelled, looked_at, scored = (
        Examples([str(i) for i in range(len(units))], units, [], answers)
        for units, answers in (train, dev, test)
    )
    data = BaselineData(labels, unlabelled, looked_at, {"test": scored})
    files = ScoreFiles(tmp_path / "predictions.parquet", tmp_path / "metrics.json")
    fit_ngram_baseline("ks", data, files, utterances=4, seed=3)

    numbered = replace(unlabelled, labels=[[int(answer)] for answer in train[1]])
    few = few_examples(numbered, 4, 3)
    assert sorted(few.references) == ["0"] * 2 + ["1"] * 2
    _, found = fit_classifier((few.units, few.references), dev, {"test": test[0]}, learns_dev=False)
    rows = pq.read_table(files.predictions)["prediction"].to_pylist()
    assert rows == found["test"][0]
    _, both = fit_classifier((few.units, few.references), dev, {"test": test[0]})
    assert both["test"][0] != rows


def test_class_weights_lift_the_rare_class():
    rng = np.random.default_rng(1)
    units = [rng.integers(0, 6, 8).tolist() for _ in range(400)]
    labels = ["rare" if 0 in u and rng.random() < 0.25 else "common" for u in units]
    data = (units, labels)
    plain, balanced = (
        fit_classifier(data, data, {"test": units}, balance=balance)[1]["test"][0]
        for balance in (False, True)
    )
    assert balanced.count("rare") > plain.count("rare")


def commands(rng, n, n_objects=6):
    """Two columns, each written in units of its own: few utterances for each pair of values."""
    values = rng.integers(0, n_objects, (n, 2))
    noise = rng.integers(40, 60, (n, 3))
    units = [
        [a, a + 10, *x.tolist(), b + 20, b + 30] for (a, b), x in zip(values, noise, strict=True)
    ]
    return units, [f"v{a} | v{b}" for a, b in values]


def by_sklearn(data, classes, setting, rows):
    """The answers of one classifier, written out."""
    vectorizer = CountVectorizer(
        token_pattern=r"\d+", ngram_range=(1, 3), binary=setting["features"] == "binary"
    )
    learnt = vectorizer.fit([" ".join(map(str, units)) for units in data[0][0]])
    texts = [" ".join(map(str, units)) for units in [*data[0][0], *data[1][0]]]
    model = LogisticRegression(C=setting["C"], max_iter=3000).fit(learnt.transform(texts), classes)
    scored = learnt.transform([" ".join(map(str, units)) for units in rows])
    return model.predict(scored), model.predict_log_proba(scored).max(axis=1)


def test_columns_are_answered_one_by_one_where_joint_classes_are_rare():
    rng = np.random.default_rng(0)
    data, (units, truth) = [commands(rng, n) for n in (80, 60)], commands(rng, 90)
    details, found = fit_classifier(*data, {"test": units}, columns=("action", "object"))
    assert details["answers"] == "per column"
    assert set(details["columns"]) == {"action", "object"}
    assert details["dev_accuracy"] == details["tried"]["per column"] > 0.9
    answers, scores = found["test"]
    assert np.mean(np.array(answers) == np.array(truth)) > 0.9
    columns = []
    for i, setting in enumerate(details["columns"].values()):
        classes = [answer.split(" | ")[i] for _, side in data for answer in side]
        columns.append(by_sklearn(data, classes, setting, units))
    (first, first_scores), (second, second_scores) = columns
    assert answers == [f"{a} | {b}" for a, b in zip(first, second, strict=True)]
    assert scores == pytest.approx(first_scores + second_scores, abs=1e-3)


def test_answers_are_joint_where_columns_depend_on_each_other():
    """Each column alone is a coin toss where its unit is missing; both together are not."""
    rng = np.random.default_rng(0)

    def draw(n):
        pairs = rng.integers(0, 2, n)
        units = [[int(pair) if rng.random() < 0.9 else 2, 5] for pair in pairs]
        return units, ["on | lamp" if pair else "up | volume" for pair in pairs]

    data, (units, _) = [draw(n) for n in (80, 60)], draw(50)
    details, found = fit_classifier(*data, {"test": units}, columns=("action", "object"))
    # Names of columns are the user's, and change nothing.
    assert fit_classifier(*data, {"test": units}, columns=("action", "answer"))[0] == details
    assert details["answers"] == "joint"
    assert set(details["tried"]) == {"joint", "per column"}
    classes = [answer for _, side in data for answer in side]
    answers, scores = by_sklearn(data, classes, details, units)
    assert found["test"][0] == answers.tolist()
    assert found["test"][1] == pytest.approx(scores, abs=1e-3)


@pytest.mark.parametrize("most_rotated", [2000, 0])
def test_memory_is_bounded_for_many_classes(monkeypatch, most_rotated):
    rng = np.random.default_rng(0)
    data, (units, truth) = [commands(rng, n) for n in (80, 60)], commands(rng, 90)
    _, whole = fit_classifier(*data, {"test": units}, columns=("action", "object"))
    monkeypatch.setattr(ngram_classifier, "MAX_COEFFICIENTS", 300)
    monkeypatch.setattr(ngram_classifier, "MAX_ROTATED", most_rotated)
    seen = []

    class Watched(LogisticRegression):
        def fit(self, features, classes):
            seen.append(features.shape)
            return super().fit(features, classes)

    monkeypatch.setattr(ngram_classifier, "LogisticRegression", Watched)
    _, found = fit_classifier(*data, {"test": units}, columns=("action", "object"))
    answers, scores = found["test"]
    if most_rotated:  # the same model in other coordinates
        assert all(columns <= rows for rows, columns in seen)
        assert answers == whole["test"][0]
        assert scores == pytest.approx(whole["test"][1], abs=1e-3)
    else:  # the most frequent n-grams
        assert all(columns <= 300 // 6 for _, columns in seen)
        assert np.mean(np.array(answers) == np.array(truth)) > 0.8


def test_a_column_may_have_one_value_only():
    rng = np.random.default_rng(0)
    train, dev, test = (sequences(rng, n) for n in (60, 40, 20))
    read = [(units, [f"{a} | same" for a in answers]) for units, answers in (train, dev)]
    details, found = fit_classifier(*read, {"test": test[0]}, columns=("order", "same"))
    assert details["tried"].keys() == {"joint", "per column"}
    assert {answer.split(" | ")[1] for answer in found["test"][0]} == {"same"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("corpus", "balance", "least"),
    [("speech_commands", True, 0.943), ("fluent_commands", False, 0.870)],
)
def test_baseline_on_the_papers_units(shared_data, tmp_path, corpus, balance, least):
    folder = shared_data / "units"
    files = {name: str(folder / corpus / f"{name}.txt") for name in ("train", "valid")}
    columns = ["label"] if balance else ["action", "object", "location"]
    examples = {}
    for split in ("train", "dev", "valid"):
        part = tmp_path / f"{split}.parquet"
        settings = UnitsCorpus(codebook="hubert100", columns=columns, **files)
        prepare_units(split, part, settings, dictionary=folder / "dict.hubert100.txt")
        table = pq.read_table(part)
        answers = zip(*(table[column].to_pylist() for column in columns), strict=True)
        examples[split] = table["units"].to_pylist(), [" | ".join(answer) for answer in answers]
    units, truth = examples["valid"]
    read = (examples["train"], examples["dev"], {"valid": units})
    _, found = fit_classifier(*read, columns=columns, balance=balance)
    assert np.mean(np.array(found["valid"][0]) == np.array(truth)) >= least


def test_what_is_heard_several_times_is_answered_by_the_mean(tmp_path):
    rng = np.random.default_rng(3)
    train, dev, test = (sequences(rng, n) for n in (120, 40, 50))
    wrong = sequences(rng, 50)[0]  # renditions that say nothing of the answer
    kept = Examples([], [], [])
    splits = [
        replace(kept, utt_ids=[str(i) for i in range(len(u))], units=u, references=a, renditions=r)
        for (u, a), r in (
            (train, [[units] for units in train[0]]),
            (dev, [[units] for units in dev[0]]),
            (test, [[units] for units in wrong]),
        )
    ]
    labels = Classification(("label",), (("0", "1"),))
    data = BaselineData(labels, splits[0], splits[1], {"test": splits[2]})
    files = ScoreFiles(tmp_path / "predictions.parquet", tmp_path / "metrics.json")
    metrics = fit_ngram_baseline("ks", data, files)
    vectorizer = CountVectorizer(
        preprocessor=lambda units: " ".join(map(str, units)),
        token_pattern=r"\d+",
        ngram_range=(1, 3),
    )
    learnt = vectorizer.fit_transform([u for u in train[0] for _ in range(2)])
    known = np.vstack([learnt.toarray()] + [vectorizer.transform(dev[0]).toarray()] * 2)
    if metrics.details["features"] == "binary":
        known = np.minimum(known, 1)
    classes = np.array([a for a in train[1] for _ in range(2)] + dev[1] * 2)
    model = LogisticRegression(C=metrics.details["C"], max_iter=3000, tol=1e-8).fit(known, classes)
    tables = []
    for units in (test[0], wrong):
        counts = vectorizer.transform(units).toarray()
        if metrics.details["features"] == "binary":
            counts = np.minimum(counts, 1)
        tables.append(model.predict_log_proba(counts))
    mean = np.mean(tables, axis=0)
    rows = pq.read_table(files.predictions).to_pylist()
    assert [row["prediction"] for row in rows] == model.classes_[mean.argmax(1)].tolist()
    expected = mean.max(1) - np.logaddexp(mean[:, 0], mean[:, 1])
    np.testing.assert_allclose([row["score"] for row in rows], expected, atol=0.02)
    assert (mean.argmax(1) != tables[0].argmax(1)).any()
