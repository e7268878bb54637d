"""Answers of several columns that may only be combinations of labels that train has."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.special import log_softmax

from random_models import CODEBOOK, examples, write_lm
from speechprompt.config.tasks import DecodingSettings, Task
from speechprompt.predict.answer import write_answer
from speechprompt.prompting import combinations
from speechprompt.prompting.calibration import answer_shares, calibrated
from speechprompt.prompting.combinations import best_labels, closed_combinations
from speechprompt.prompting.decoding import Predictions, predict
from speechprompt.prompting.task_file import load_task_model
from speechprompt.prompting.training import TaskData, train_prompt
from speechprompt.storage.tensors import read_tensor_metadata
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.examples import Examples
from speechprompt.training.job import Computation, TrainingFiles

COLUMNS = [[0, 1, 2], [3, 4], [5, 6]]
KNOWN = [[0, 3, 5], [1, 3, 6], [2, 4, 5]]


def scored(n=50):
    scores = np.random.default_rng(0).normal(0, 2, (n, 7))
    for column in COLUMNS:
        scores[:, column] = log_softmax(scores[:, column], axis=1)
    return scores


@pytest.mark.parametrize("cells", [2**22, 20])
def test_the_best_known_combination_and_its_probability(cells, monkeypatch):
    """Against a table of all combinations."""
    monkeypatch.setattr(combinations, "CELLS", cells)
    scores = scored()
    labels, best = best_labels(scores, COLUMNS, KNOWN)
    for row, answer, score in zip(scores, labels, best, strict=True):
        shares = {
            combination: np.exp(row[list(combination)].sum()) if list(combination) in KNOWN else 0
            for combination in product(*COLUMNS)
        }
        total = sum(shares.values())
        assert tuple(answer) == max(shares, key=shares.get)
        assert np.exp(score) == pytest.approx(max(shares.values()) / total)
    assert any(row.tolist() not in KNOWN for row in best_labels(scores, COLUMNS)[0])


def test_all_combinations_are_the_best_of_each_column():
    scores = scored()
    everything = [list(row) for row in product(*COLUMNS)]
    free, known = (best_labels(scores, COLUMNS, which) for which in (None, everything))
    assert (free[0] == known[0]).all()
    assert np.allclose(free[1], known[1])
    assert [len(part) for part in best_labels(scores[:0], COLUMNS, KNOWN)] == [0, 0]


@pytest.mark.parametrize(
    ("train", "valid", "columns", "expected"),
    [
        (KNOWN * 2, KNOWN[:1], COLUMNS, KNOWN),
        (KNOWN[::-1] * 2, [], COLUMNS, KNOWN),
        ([*KNOWN, *KNOWN[1:]], KNOWN[:1], COLUMNS, None),  # one is there once
        (KNOWN * 2, [[0, 4, 5]], COLUMNS, None),
        ([[0, 2], [1, 3], [0, 3], [1, 2]] * 2, [], [[0, 1], [2, 3]], None),  # all there are
        ([[0], [1]] * 2, [], [[0, 1, 2]], None),
        ([[0, 0, 1]] * 2, [], None, None),
    ],
)
def test_when_combinations_are_closed(train, valid, columns, expected):
    assert closed_combinations(train, valid, columns) == expected


def test_a_prompt_answers_with_the_combinations_that_train_has(tmp_path):
    drawn = examples(40, COLUMNS)
    known = [KNOWN[i % 3] for i in range(40)]
    data = Examples(drawn.utt_ids, drawn.units, known)
    labels = Classification(("a", "b", "c"), (("p", "q", "r"), ("s", "t"), ("u", "v")))
    task = Task(
        corpus="c",
        lm="l",
        labels=["a", "b", "c"],
        verbalizer="learnable",
        prompt={"mode": "query", "length": 3},
        training={"max_epochs": 1, "precision": "fp32"},
    )
    lm, path = write_lm(tmp_path / "lm.safetensors"), tmp_path / "prompt.safetensors"
    files = TrainingFiles(path, tmp_path / "curve.parquet", None)
    train_prompt(
        *(task, TaskData(labels, data, replace(data), CODEBOOK), lm, files),
        computation=Computation(threads=1),
        seed=1,
    )
    assert read_tensor_metadata(path)["combinations"] == KNOWN
    model = load_task_model(path, lm, CODEBOOK)
    free = predict(model, data.units)
    assert any(answer not in KNOWN for answer in free.labels)
    known_ones = DecodingSettings(combinations="known")
    found = predict(model, data.units, known_ones, renditions=[[row, row] for row in data.units])
    assert all(answer in KNOWN for answer in found.labels)
    answers, scores = best_labels(free.label_scores, COLUMNS, KNOWN)
    assert answers.tolist() == found.labels
    assert np.allclose(scores, found.scores, atol=1e-4)
    assert found.combinations == KNOWN
    assert free.combinations is None


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_probability_of_an_answer_is_that_among_the_known_ones(temperature):
    """With a temperature as without one."""
    scores = scored()
    labels, best = best_labels(scores, COLUMNS, KNOWN)
    joint = np.exp(scores[:, np.array(KNOWN)].sum(axis=2) / temperature)
    expected = joint.max(axis=1) / joint.sum(axis=1)
    shares = calibrated(scores, temperature, COLUMNS)
    assert np.allclose(answer_shares(shares, labels, KNOWN), expected)
    if temperature == 1:
        assert np.allclose(np.exp(best), expected)
    predictions = Predictions(labels.tolist(), best, np.ones(50, bool), scores, KNOWN)
    values = (("p", "q", "r"), ("s", "t"), ("u", "v"))
    names = Classification(("a", "b", "c"), values)
    answer = write_answer("x.wav", "t", names, predictions, 7, temperature)
    assert answer.probability == pytest.approx(expected[7])
