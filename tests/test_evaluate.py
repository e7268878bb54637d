import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from speechprompt.errors import ArtefactError
from speechprompt.evaluate import (
    bootstrap,
    classification_scores,
    pool_predictions,
    publish,
    write_metrics,
    write_predictions,
)


def rows(references, answers, prefix="u", repeats=None):
    n = len(references)
    return {
        "utt_id": [f"{prefix}{i}" for i in range(n)],
        "reference": [[v] if isinstance(v, str) else v for v in references],
        "prediction": [[v] if isinstance(v, str) else v for v in answers],
        "score": np.zeros(n),
        "is_repeat": repeats or [False] * n,
    }


def test_accuracy_by_row_and_over_distinct_utterances(tmp_path):
    path = tmp_path / "predictions.parquet"
    data = rows(["a", "b", "b", "b"], ["a", "b", "a", "a"], repeats=[False, False, False, True])
    write_predictions(path, {"test": data}, ["label"])
    scores = classification_scores([pq.read_table(path)])["test"]
    assert scores["acc"].value == 0.5
    assert scores["acc"].n == 4
    assert scores["acc_distinct"].value == pytest.approx(2 / 3)
    assert scores["acc_distinct"].n == 3


def test_a_tuple_is_right_when_every_column_is(tmp_path):
    path = tmp_path / "predictions.parquet"
    data = rows([["on", "lamp"], ["off", "lamp"]], [["on", "lamp"], ["on", "lamp"]])
    write_predictions(path, {"test": data}, ["action", "object"])
    scores = classification_scores([pq.read_table(path)])["test"]
    assert scores["acc"].value == 0.5
    assert scores["acc_action"].value == 0.5
    assert scores["acc_object"].value == 1.0


def test_bootstrap_interval_matches_the_normal_approximation():
    errors = np.zeros(2000)
    errors[:200] = 1
    score = bootstrap(errors)
    half = 1.96 * np.sqrt(0.9 * 0.1 / 2000)
    assert score.value == pytest.approx(0.9)
    assert score.interval[0] == pytest.approx(0.9 - half, abs=0.003)
    assert score.interval[1] == pytest.approx(0.9 + half, abs=0.003)


def test_publish_means_over_seeds(tmp_path):
    folders = []
    for seed, answers in ((1, ["a", "a", "a", "b"]), (2, ["a", "a", "b", "b"])):
        folder = tmp_path / f"seed-{seed}"
        folders.append(folder)
        data = rows(["a"] * 4, answers)
        write_predictions(folder / "predictions.parquet", {"test": data}, ["label"])
        write_metrics(
            folder / "metrics.json",
            folder / "predictions.parquet",
            task="t",
            method="prompt",
            seeds=[seed],
            hashes={"prompt": f"hash{seed}", "lm": "x"},
        )
        (folder / "prompt.safetensors").write_bytes(b"prompt %d" % seed)
    publish(folders, tmp_path)
    assert (tmp_path / "prompt.safetensors").read_bytes() == b"prompt 1"
    assert (tmp_path / "acc.txt").read_text() == "62.50\n"
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["main"] == {"name": "acc", "value": 0.625, "higher_is_better": True}
    assert metrics["per_seed"] == {"1": 0.75, "2": 0.5}
    assert metrics["hashes"] == {"lm": "x", "prompt_seed_1": "hash1", "prompt_seed_2": "hash2"}


def test_pooling_refuses_an_utterance_that_stands_twice(tmp_path):
    paths = []
    for name, prefix in (("a", "x"), ("b", "y"), ("c", "x")):
        paths.append(tmp_path / f"{name}.parquet")
        write_predictions(paths[-1], {"test": rows(["1", "2"], ["1", "1"], prefix)}, ["label"])
    assert pool_predictions(paths[:2]).value == 0.5
    assert pool_predictions(paths[:2]).n == 4
    with pytest.raises(ArtefactError, match=r"c\.parquet.*'x0'"):
        pool_predictions(paths)
