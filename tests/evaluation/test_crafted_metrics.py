"""A metrics.json that is damaged or crafted is one sentence with its name, whoever reads it."""

import copy
import json

import numpy as np
import pytest

from speechprompt.cli import main
from speechprompt.evaluation.predictions import write_predictions
from speechprompt.evaluation.scores import write_metrics

VALUES = (None, "", "x\x1b[2J", [], {}, -1, 10**30, True, [[]], {"a": None}, float("nan"))
DELETED = object()


def places(value, path=()):
    """The path of every value in a value."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in [*items, *(enumerate(value[:2]) if isinstance(value, list) else ())]:
        yield from places(inner, (*path, key))


def changed(value, path, new):
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if not path:
        return new
    if new is DELETED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return value


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A task with its metrics, a table, and the set-up that the overview shows."""
    folder = tmp_path_factory.mktemp("results")
    names = [f"u{i}" for i in range(6)]
    for method, answers in (("prompt", "yyynnn"), ("constant", "yyyyyy")):
        rows = {
            "utt_id": names,
            "reference": list("yyyynn"),
            "prediction": list(answers),
            "score": np.log(np.full(6, 0.5)),
            "is_repeat": [False] * 6,
        }
        write_predictions(
            folder / method / "predictions.parquet",
            {"test": rows},
            task_type="classification",
            columns=["label"],
            method=method,
        )
    path = folder / "ks/prompt/metrics.json"
    write_metrics(
        path,
        [folder / "prompt/predictions.parquet"],
        task="ks",
        method="prompt",
        baselines=[folder / "constant/predictions.parquet"],
    )
    assert main(["write-table", str(path), "--reported", "{}", "--out", str(folder / "t.md")]) == 0
    return folder, path


@pytest.mark.parametrize("verb", ["write-table", "finish-task", "inspect"])
def test_every_change_is_taken_or_told(results, capsys, verb):
    folder, path = results
    text = path.read_text()
    whole = json.loads(text)
    whole.pop("seal")
    words = {
        "write-table": ["write-table", path, "--reported", "{}", "--out", folder / "table.md"],
        "finish-task": ["finish-task", path, "--out", folder / "acc.txt"],
        "inspect": ["inspect", path],
    }[verb]
    rng = np.random.default_rng(0)
    cases = [(place, new) for place in places(whole) for new in (*VALUES, DELETED)]
    told = 0
    for number in rng.permutation(len(cases))[:250]:
        place, new = cases[number]
        if new is DELETED and not place:
            continue
        path.write_text(json.dumps(changed(whole, place, new)))
        status = main([str(word) for word in words])
        shown = capsys.readouterr().err
        assert "Traceback" not in shown, (place, new, shown)
        assert "\x1b" not in shown
        if status:
            told += 1
            assert status == 1
            assert len(shown.splitlines()) == 1
            assert str(path) in shown
    assert told > 20 or verb == "inspect"
    path.write_text(text)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("gains", "constant"), "gains.constant has no acc, macro_f1 on test"),
        (("floors", "constant", "test", "acc"), "floors.constant has no acc on test"),
        (("splits", "test", "acc"), "splits has no acc on test"),
        (("splits", "test"), "it has no splits"),
    ],
)
def test_a_score_that_is_missing_is_named(results, capsys, place, message):
    folder, path = results
    text = path.read_text()
    whole = json.loads(text)
    whole.pop("seal")
    path.write_text(json.dumps(changed(whole, place, DELETED)))
    assert main(["finish-task", str(path), "--out", str(folder / "acc.txt")]) == 1
    assert message in capsys.readouterr().err
    path.write_text(text)
