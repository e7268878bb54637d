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
def planned_jobs(once):
    """Rules by name, and the jobs that the plan of every_rule.yaml has."""
    return json.loads((once("planned", write_plan) / "plan.json").read_text())


def write_plan(folder):
    (folder / "mine/kaldi").mkdir(parents=True)
    (folder / "mine/table.csv").write_text("path,split,label\n1.wav,train,yes\n")
    (folder / "mine/kaldi/wav.scp").write_text("1 mine/1.wav\n2 cat mine/1.wav |\n")
    (folder / "mine/kaldi/text").write_text("1 yes\n2 no\n")
    for name in ("train.txt", "valid.txt", "dict.txt"):
        (folder / name).touch()
    with (folder / "plan.json").open("w") as plan:
        words = [str(HERE / "planned_jobs.py"), str(folder), str(SETUP), "all", *ASKED_FOR]
        subprocess.run([sys.executable, *words], stdout=plan, cwd=REPOSITORY, check=True)
