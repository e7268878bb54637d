"""Results on a terminal: the verb show, and what inspect says of a task first."""

import json

import pytest

from speechprompt.cli import main
from speechprompt.evaluation.metrics import Score
from speechprompt.evaluation.scores import MainMetric, Metrics
from speechprompt.evaluation.standing import Standing
from speechprompt.storage.files import write_json


def metrics(task="ks", name="acc", value=0.9, floors=None, gain=(0.01, 0.05), higher=True):
    def scores(value, low=None, high=None):
        score = Score(value=value, interval=(low or value - 0.02, high or value + 0.02), n=1200)
        return {"test": {name: score, {"acc": "macro_f1", "wer": "cer"}[name]: score}}

    floors = {"constant": 0.08} if floors is None else floors
    return Metrics(
        task=task,
        type="classification" if name == "acc" else "transcription",
        method="prompt",
        main=MainMetric(name=name, value=value, higher_is_better=higher),
        splits=scores(value),
        floors={key: scores(floor) for key, floor in floors.items()},
        gains={key: scores(0.03, *gain) for key in floors},
        seeds=[1, 2],
    )


def written(folder, **settings):
    write_json(folder / "metrics.json", metrics(**settings).model_dump(mode="json"))
    return folder


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        ((0.01, 0.05), "above the baseline"),
        ((-0.01, 0.05), "level with the baseline"),
        ((-0.05, -0.01), "below the baseline"),
    ],
)
def test_a_verdict_from_the_paired_interval(gain, verdict):
    found = Standing.of(metrics(floors={"constant": 0.1, "ngram": 0.8}, gain=gain))
    assert (found.baseline, found.verdict) == ("ngram", verdict)


def test_the_strongest_baseline_of_an_error_rate_is_the_lowest():
    floors = {"constant": 1.0, "shuffled": 0.97}
    found = Standing.of(metrics("asr", "wer", 0.6, floors, higher=False))
    assert found.baseline == "shuffled"
    assert Standing.of(metrics(floors={})).verdict == "no baseline"


def test_a_row_for_each_task(tmp_path, monkeypatch, capsys):
    floors = {"constant": 0.1, "ngram_logistic_regression": 0.8}
    ks = written(tmp_path / "results/ks", floors=floors)
    written(tmp_path / "results/asr", task="asr", name="wer", value=0.6, higher=False)
    assert main(["show", str(ks)]) == 0
    titles, row = capsys.readouterr().out.splitlines()
    assert titles.split()[:4] == ["task", "method", "metric", "score"]
    assert "ks    prompt  acc     90.00 % [88.00, 92.00]" in row
    assert row.split("  ")[-2:] == ["above the baseline", "1,200"]
    assert "n-grams of the units 80.00 %" in row
    monkeypatch.chdir(tmp_path)
    assert main(["show"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["show", "results/ks", "results/asr", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["score"], first["low"]) == (0.9, 0.88)
    assert (first["verdict"], second["task"]) == ("above the baseline", "asr")


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("none", "none: no such folder; expected"), (".", ".: no metrics.json in it or in its")],
)
def test_a_folder_without_results_is_one_line(folder, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["show", folder]) == 1
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1


def test_inspect_leads_with_the_accuracy_of_a_task(copied, capsys):
    written(copied / "results/ks")
    assert main(["inspect", str(copied / "results/ks")]) == 0
    title, _, result, baseline, *_ = capsys.readouterr().out.splitlines()
    assert title.endswith("what a finished task needs to answer audio")
    assert result.split(None, 1) == [
        "result",
        "acc 90.00 % [88.00, 92.00], test split, 1200 utterances",
    ]
    assert baseline.split(None, 1) == [
        "baseline",
        "best constant answer 8.00 %: above the baseline",
    ]
    (copied / "results/ks/metrics.json").write_text("{}")
    assert main(["inspect", str(copied / "results/ks")]) == 0
    assert "result   unknown (" in capsys.readouterr().out
