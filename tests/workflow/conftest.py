"""The rules of the workflow, and the jobs of a set-up that needs all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import REPOSITORY
from speechprompt.config import parse_config, read_config
from speechprompt.workflow.plan import Plan

HERE = Path(__file__).parent
SETUP = HERE / "every_rule.yaml"
# Made where they are asked for, or where a set-up has no tasks.
ASKED_FOR = [
    "results/ks/overview.html",
    "results/lm/mfcc/learning_curve.svg",
    "results/encoders/trained/learning_curve.svg",
]


@pytest.fixture(scope="module")
def plan():
    """The plan of that set-up."""
    return Plan(parse_config(read_config(SETUP)))


@pytest.fixture(scope="session")
def planned_jobs(tmp_path_factory):
    """Rules by name, and the jobs that the plan of every_rule.yaml has."""
    folder = tmp_path_factory.mktemp("planned")
    (folder / "mine").mkdir()
    (folder / "mine/table.csv").write_text("path,split,label\n1.wav,train,yes\n")
    (folder / "mine/kaldi").mkdir()
    (folder / "mine/kaldi/wav.scp").write_text("1 mine/1.wav\n2 cat mine/1.wav |\n")
    (folder / "mine/kaldi/text").write_text("1 yes\n2 no\n")
    for name in ("train.txt", "valid.txt", "dict.txt"):
        (folder / name).touch()
    done = subprocess.run(
        [sys.executable, str(HERE / "planned_jobs.py"), str(folder), str(SETUP), "all", *ASKED_FOR],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
