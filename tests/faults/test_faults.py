"""A share of the campaign, and that its judge sees what is wrong."""

import os
import sys
from pathlib import Path

import pytest

from speechprompt.storage.files import write_text

sys.path.append(str(Path(__file__).parents[2]))

from faults.__main__ import KINDS, inject, main
from faults.tiny import STAGES, import_everything, make
from faults.trial import (
    CLEAN,
    ENDLESS,
    FAILED,
    HALF,
    SAME,
    SILENT,
    TRACEBACK,
    UNCLEAR,
    Case,
    Process,
    Stage,
    Verdict,
    judge,
)

from faults import shell

EVERY = {"kill": 20, "rot": 24, "disk": 20, "concurrency": 8}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import_everything()
    return make(tmp_path_factory.mktemp("faults") / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_faults_are_answered_well(run, kind):
    outcomes = [
        (verdict.outcome, case.name, verdict.said)
        for _, case, verdict in inject(run, [kind], EVERY.get(kind, 12))
    ]
    assert len(outcomes) >= 3
    assert [found for found in outcomes if found[0] in FAILED] == []


def test_every_stage_is_in_the_run(run):
    outputs = {name for stage in STAGES.values() for name in stage.outputs}
    assert outputs <= run.content.keys()
    assert len(STAGES) >= 20


@pytest.mark.parametrize(
    ("sabotage", "words", "named", "outcome"),
    [
        (None, ["finish-task", "m.json", "--out", "out.txt"], ["m.json"], CLEAN),
        (None, ["finish-task", "m.json", "--out", "out.txt"], ["other"], UNCLEAR),
        (None, ["--version"], [], SILENT),
        (lambda: write_text("out.txt", "right"), ["--version"], [], SAME),
        (lambda: write_text("out.txt", "wrong"), ["--version"], [], SILENT),
        (lambda: write_text("out.txt", "half"), ["finish-task", "m", "--out", "o"], [], HALF),
        (lambda: write_text(".a.part", ""), ["finish-task", "m", "--out", "o"], [], HALF),
        (lambda: 1 / 0, ["--version"], [], TRACEBACK),
        (lambda: os.read(os.pipe()[0], 1), ["--version"], [], ENDLESS),
    ],
)
def test_the_judge_sees_what_is_wrong(tmp_path, sabotage, words, named, outcome):
    process = Process(tmp_path, words, sabotage).start().wait(2 if outcome == ENDLESS else 60)
    stage = Stage("finish", words, ["out.txt"])
    assert judge(process, stage, {"out.txt": b"right"}, named).outcome == outcome


def test_the_campaign_fails_on_one_bad_answer(monkeypatch, capsys):
    monkeypatch.setattr("faults.__main__.make", lambda folder: None)
    monkeypatch.setattr("faults.__main__.import_everything", lambda: None)

    def cases(*outcomes):
        found = [Case(one, lambda place, one=one: Verdict(one, "why")) for one in outcomes]
        monkeypatch.setattr(shell, "faults", lambda run: found)

    cases(CLEAN, SAME)
    assert main(["--kinds", "shell"]) == 0
    assert "2 faults in 0 s, 0 not answered well" in capsys.readouterr().out
    for outcome in FAILED:
        cases(CLEAN, outcome)
        assert main(["--kinds", "shell"]) == 1
        assert f"{outcome}: shell: {outcome}\n    why\n" in capsys.readouterr().out
    assert main(["--kinds", "shell", "--every", "2"]) == 0
