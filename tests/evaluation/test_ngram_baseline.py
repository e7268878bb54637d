import numpy as np
import pyarrow.parquet as pq
import pytest

from speechprompt.config.corpora import UnitsCorpus
from speechprompt.evaluation.ngram_baseline import fit_classifier, fit_ngram_baseline
from speechprompt.evaluation.scored_splits import BaselineData, ScoreFiles
from speechprompt.storage.files import read_json
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.examples import Examples
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


def test_class_weights_lift_the_rare_class():
    rng = np.random.default_rng(1)
    units = [rng.integers(0, 6, 8).tolist() for _ in range(400)]
    labels = ["rare" if 0 in u and rng.random() < 0.25 else "common" for u in units]
    data = (units, labels)
    plain, balanced = (
        fit_classifier(data, data, {"test": units}, balance)[1]["test"][0]
        for balance in (False, True)
    )
    assert balanced.count("rare") > plain.count("rare")


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
        examples[split] = table["units"].to_pylist(), [" ".join(answer) for answer in answers]
    units, truth = examples["valid"]
    _, found = fit_classifier(examples["train"], examples["dev"], {"valid": units}, balance)
    assert np.mean(np.array(found["valid"][0]) == np.array(truth)) >= least
