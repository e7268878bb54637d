"""Sweeps: which trainings there are, few-shot subsets, and the table of results."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from speechprompt.config import parse_config
from speechprompt.errors import ConfigError, CorpusError
from speechprompt.evaluation.predictions import write_predictions
from speechprompt.evaluation.scores import write_metrics
from speechprompt.report.sweep import gather_sweep
from speechprompt.tasks.examples import Examples, few_examples

BASE = {
    "corpora": {"c": {"kind": "synthetic"}},
    "encoders": {"e": {"kind": "mfcc", "sample_corpora": ["c"]}},
    "codebooks": {"b": {"encoder": "e"}, "small": {"encoder": "e", "n_units": 20}},
    "lm": {
        "l": {"codebook": "b", "corpora": ["c"]},
        "other": {"codebook": "small", "corpora": ["c"]},
    },
    "tasks": {"ks": {"corpus": "c", "lm": "l", "prompt": {"length": 5}}},
}


def swept(*spaces):
    return parse_config(BASE | {"sweep": {"task": "ks", "spaces": list(spaces)}})


def test_spaces_are_products_around_the_tasks_own_settings():
    points = swept(
        {"length": [1, 5]}, {"method": ["prompt", "finetune"], "utterances": [12, "all"]}
    ).sweep_points()
    assert [tuple(point) for point in points] == [
        ("prompt", "l", "frequency", 1, "all"),
        ("prompt", "l", "frequency", 5, "all"),
        ("prompt", "l", "frequency", 5, 12),
        ("finetune", "l", "frequency", 5, 12),
        ("finetune", "l", "frequency", 5, "all"),
    ]


def test_a_point_changes_its_settings_and_no_other():
    config = swept({"lm": ["other"], "verbalizer": ["learnable"], "utterances": [7]})
    (point,) = config.sweep_points()
    own = config.tasks["ks"]
    task = point.task(own)
    assert (task.lm, task.verbalizer, task.prompt.length) == ("other", "learnable", 5)
    assert task.training.utterances == task.finetuning.utterances == 7
    changed = {"lm", "verbalizer", "training", "finetuning"}
    assert task.model_dump(exclude=changed) == own.model_dump(exclude=changed)


def test_a_downstream_task_is_swept_around_its_prompt():
    downstream = {"method": "downstream", "downstream": {"normalize": True}}
    tasks = {"ks": BASE["tasks"]["ks"] | downstream}
    sweep = {"task": "ks", "spaces": [{"length": [5, 9]}]}
    config = parse_config(BASE | {"tasks": tasks, "sweep": sweep})
    own = config.sweep.own(config.tasks["ks"])
    assert own == config.sweep_points()[0] == ("prompt", "l", "frequency", 5, "all")


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"task": "no", "spaces": [{}]}, "sweep.task: 'no' is not known"),
        ({"task": "ks", "spaces": [{"lm": ["no"]}]}, "sweep.spaces: lm: 'no' is not known"),
        ({"task": "ks", "spaces": []}, "sweep.spaces"),
        ({"task": "ks", "spaces": [{"lenght": [1]}]}, "lenght"),
    ],
)
def test_wrong_sweeps_are_refused(sweep, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(BASE | {"sweep": sweep})


def test_settings_that_do_not_go_together_are_refused():
    tasks = {"asr": {"corpus": "c", "lm": "l", "type": "transcription", "labels": ["label"]}}
    sweep = {"task": "asr", "spaces": [{"verbalizer": ["frequency", "learnable"]}]}
    with pytest.raises(ConfigError, match=r"learnable needs .* for transcription"):
        parse_config(BASE | {"tasks": tasks, "sweep": sweep})


def examples(answers):
    n = len(answers)
    return Examples([f"u{i}" for i in range(n)], [np.array([i]) for i in range(n)], answers)


def test_few_utterances_are_spread_evenly_over_the_answers():
    many = examples([[0]] * 50 + [[1]] * 3 + [[2, 1]] * 20)
    few = few_examples(many, 12, seed=1)
    labels = [tuple(row) for row in few.labels]
    assert len(few) == len(set(few.utt_ids)) == 12
    assert labels.count((1,)) == 3  # all there are
    assert sorted([labels.count((0,)), labels.count((2, 1))]) == [4, 5]
    order = [int(name[1:]) for name in few.utt_ids]
    assert order == sorted(order)
    assert [int(units[0]) for units in few.units] == order


def test_few_utterances_follow_the_seed():
    many = examples([[i % 4] for i in range(200)])
    first = few_examples(many, 20, seed=1).utt_ids
    assert few_examples(many, 20, seed=1).utt_ids == first
    assert few_examples(many, 20, seed=2).utt_ids != first
    assert few_examples(many, 200, seed=1).utt_ids == many.utt_ids


def test_more_utterances_than_there_are_is_an_error():
    with pytest.raises(CorpusError, match=r"training\.utterances: .* 3 of train, found 4"):
        few_examples(examples([[0], [1], [2]]), 4, seed=1)


def test_the_table_has_a_row_per_training_and_metric(tmp_path):
    points, paths = [], []
    for number, (length, right) in enumerate([(1, 10), (5, 15)]):
        predictions = tmp_path / f"{number}.parquet"
        rows = {
            "utt_id": [f"u{i}" for i in range(20)],
            "reference": ["a"] * 20,
            "prediction": ["a"] * right + ["b"] * (20 - right),
            "score": np.zeros(20),
            "is_repeat": [False] * 20,
        }
        about = {"task_type": "classification", "columns": ["label"], "method": "prompt"}
        write_predictions(predictions, {"test": rows}, **about)
        paths.append(tmp_path / f"{number}.json")
        write_metrics(
            paths[-1],
            [predictions],
            task="ks",
            method="prompt",
            trainable_parameters=100 * length,
            seeds=[1],
            details={"training": {"utterances": 240}},
        )
        own = ["method", "lm", "verbalizer", "utterances"] + (["length"] if length == 5 else [])
        settings = {"method": "prompt", "lm": "l", "verbalizer": "frequency", "length": length}
        points.append(settings | {"utterances": "all", "seed": 1, "own": own})
    gather_sweep(paths, points, tmp_path / "sweep.parquet", "ks, sweep")
    table = pq.read_table(tmp_path / "sweep.parquet")
    main = table.to_pandas().query("main")
    assert main["value"].tolist() == [0.5, 0.75]
    assert main["trainable_parameters"].tolist() == [100, 500]
    assert main["utterances"].tolist() == [240, 240]
    assert main["own_length"].tolist() == [False, True]
    for picture in ("by_parameters", "by_utterances", "by_choice"):
        assert "<svg" in (tmp_path / f"{picture}.svg").read_text()[:1000]
