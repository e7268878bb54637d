"""What a run shows on the terminal."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from speechprompt.evaluation.predictions import write_predictions
from speechprompt.evaluation.scores import write_metrics
from speechprompt.workflow.run_display import RunDisplay, earlier_seconds, results_box


class Terminal(io.StringIO):
    def isatty(self):
        return True


def said(event=None, level=logging.INFO, message="", **facts):
    """A message as Snakemake logs it."""
    record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    record.__dict__.update(facts, event=event and SimpleNamespace(name=event))
    return record


def run_two_jobs(display):
    display.emit(said("RUN_INFO", stats={"total": 2}))
    for number in (1, 2):
        wildcards = {"task": "ks", "seed": number}
        display.emit(said("JOB_INFO", jobid=number, rule_name="train_prompt", wildcards=wildcards))
        display.emit(said("JOB_FINISHED", job_id=number))
        display.emit(said("PROGRESS", done=number, total=2))
    display.finish()


def test_a_terminal_has_one_line():
    stream = Terminal()
    run_two_jobs(RunDisplay(stream))
    *states, last = stream.getvalue().split("\r")
    assert any("0 of 2 jobs · train_prompt ks, 1" in state for state in states)
    assert "2 of 2 jobs" in last
    assert last.endswith("\n")
    assert stream.getvalue().count("\n") == 1


def test_a_file_has_a_line_now_and_then():
    stream = io.StringIO()
    display = RunDisplay(stream)
    for done in range(101):
        display.emit(said("PROGRESS", done=done, total=100))
    assert 10 <= len(stream.getvalue().splitlines()) <= 12
    assert "\x1b" not in stream.getvalue()


def test_only_what_matters_of_snakemakes_messages_is_seen():
    display = RunDisplay(io.StringIO())
    assert display.is_hidden(said("JOB_INFO", message="rule a:"))
    assert display.is_hidden(said(message="Building DAG of jobs..."))
    assert not display.is_hidden(said(message="Nothing to be done (all requested files ...)."))
    assert not display.is_hidden(said("JOB_ERROR", logging.ERROR))
    assert not display.is_hidden(said(level=logging.WARNING))


def test_time_left_comes_from_earlier_runs(tmp_path):
    folder = tmp_path / "benchmarks/train_prompt"
    folder.mkdir(parents=True)
    (folder / "ks-1.tsv").write_text("s\th:m:s\n60.0\t0:01:00\n")
    (folder / "ks-2.tsv").write_text("s\th:m:s\n120.0\t0:02:00\n")
    (folder / "bad.tsv").write_text("nothing\n")
    jobs = [(1, str(folder / "ks-1.tsv")), (2, str(folder / "new.tsv"))]
    assert earlier_seconds(jobs) == {1: 60.0, 2: 90.0}
    assert earlier_seconds([(3, str(tmp_path / "benchmarks/other/x.tsv"))]) == {}
    display = RunDisplay(io.StringIO())
    display.total = 2
    assert display.time_left() == ""
    display.expect({1: 60.0, 2: 90.0}, cores=1)
    assert display.time_left() == "about 2 min left"
    display.expect({1: 60.0, 2: 90.0}, cores=4)
    assert display.time_left() == "about 75 s left"


@pytest.mark.parametrize(
    ("right", "verdict"), [(38, "above the baseline"), (0, "below the baseline")]
)
def test_the_box_has_result_baseline_and_verdict(tmp_path, right, verdict):
    words = [f"word{i % 4}" for i in range(40)]
    answers = [word if i < right else "none" for i, word in enumerate(words)]
    rows = {"utt_id": [f"u{i}" for i in range(40)], "reference": words}
    rows |= {"score": np.zeros(40), "is_repeat": [False] * 40}
    about = {"task_type": "classification", "columns": ["label"]}
    ours, theirs = tmp_path / "p.parquet", tmp_path / "c.parquet"
    write_predictions(ours, {"test": rows | {"prediction": answers}}, method="prompt", **about)
    constant = rows | {"prediction": [words[0]] * 40}
    write_predictions(theirs, {"test": constant}, method="constant", **about)
    folder = tmp_path / "ks"
    facts = {"task": "ks", "method": "prompt", "baselines": [theirs], "seeds": [1]}
    write_metrics(folder / "metrics.json", [ours], **facts)
    (folder / "model.json").write_text("{}")
    overview = tmp_path / "overview.html"
    box = results_box([str(folder)], str(overview))
    assert f"accuracy {100 * right / 40:.2f} %" in box
    assert verdict in box
    assert ("is worse than the best constant answer" in box) == verdict.startswith("below")
    assert f"next:     speechprompt demo {folder}" in box
    assert f"overview: {overview} by `snakemake --cores all`, for all tasks" in box
    page = folder / "overview.html"
    assert f"          `snakemake --cores all {page}` for this task " in box
    assert box.count("gain ") == 1
    page.touch()
    assert f"          {page} for this task " in results_box([str(folder)], str(overview))
    overview.touch()
    box = results_box([str(folder)], str(overview))
    assert f"overview: {overview} " in box
    assert "--cores all" not in box
    assert len({len(line) for line in box.splitlines()}) == 1
