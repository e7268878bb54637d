"""configs/ci.yaml through the Slurm that tests/slurm/start.sh starts, jobs killed on the way."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from forkserver import CHILDS_PYTHON, programs
from pipeline import REPOSITORY, options

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

IMPATIENT = Path(__file__).with_name("impatient.py")
# Slurm watches, and in the end kills, what its job has started: these are no forks of another
# process, as all others are.
PROGRAM = """#!/bin/sh
case "$*" in
    *"extract-features "*/train/*|*"pretrain-unit-lm "*) exec {installed} "$@" ;;
    *"-jobs extract_features:"*split=train*|*"-jobs pretrain_unit_lm:"*) exec {installed} "$@" ;;
    *) exec {forked} "$@" ;;
esac
"""
TARGET = "results/ks/acc.txt"
PROFILE = ["--workflow-profile", str(REPOSITORY / "workflow/profiles/slurm")]
# One node with few cores, files that are there at once, and Snakemake's own messages.
HERE = ["--cores", "2", "--latency-wait", "15", "--quiet=reason"]
# The unit LM's training takes more than the first attempt asks for, and less than the second.
# The node has a GPU in name only: the baseline's request for one is to be seen.
REQUESTS = ["--set-resources", "pretrain_unit_lm:mem_mb=350*attempt**3", "fit_ngram_baseline:gpu=1"]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """The tests' own Slurm, never one that belongs to somebody."""
    absent = os.environ.get("SPEECHPROMPT_NO_SLURM") or "sudo tests/slurm/start.sh starts one"
    if not shutil.which("scontrol"):
        pytest.skip(f"no Slurm on this machine: {absent}")
    shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True)
    if "ClusterName             = speechprompt-test" not in shown.stdout:
        pytest.skip(f"the tests' Slurm is not running: {absent}")


def shard(number):
    """The features that one job of the train split writes."""
    return f"results/features/mfcc/keywords/train/part-{number:05d}-of-00002.parquet"


def worker_of(path):
    """The process that writes a file right now, on this one node; None where there is none."""
    for half_written in path.parent.glob(f".{path.name}.*.part"):
        return psutil.Process(int(half_written.name.split(".")[-2].partition("-")[0]))
    return None


def slurm_jobs(run):
    """Slurm's own records of the jobs of a run, by field."""
    (name,) = set(re.findall(r"SLURM run ID: (\S+)", run))
    shown = subprocess.run(["scontrol", "show", "job", "-o"], capture_output=True, text=True)
    records = [
        dict(field.split("=", 1) for field in line.split() if "=" in field)
        for line in shown.stdout.splitlines()
    ]
    return [record for record in records if record.get("JobName") == name]


def submissions(run):
    """How often each job was handed to Slurm, by the folder of its log: rule and wildcards."""
    logs = re.findall(r"submitted with SLURM jobid \d+ \(log: \S*/slurm_logs/(\S+)/\d+\.log\)", run)
    return Counter(logs)


def hashes(directory):
    found = {}
    for pattern in (
        "results/manifests/**/*.parquet",
        "results/codebooks/*.safetensors",
        "results/units/**/*",
        "results/lm/*/model.safetensors",
        "results/ks/*.*",
    ):
        for path in sorted(Path(directory).glob(pattern)):
            if path.is_file():
                content = path.read_bytes()
                found[str(path.relative_to(directory))] = hashlib.sha256(content).hexdigest()
    return found


class Killer:
    """Ends the jobs of two shards in the middle of writing, and looks at what that leaves."""

    def __init__(self, directory):
        self.directory = directory
        self.left = {0: self.kill, 1: self.scancel}
        self.ending = {}
        self.seen_after = {}

    def at_work(self):
        """Whether a shard's end, or its aftermath, is still to be seen."""
        return self.left or self.ending

    def step(self):
        for number, end in list(self.left.items()):
            worker = worker_of(self.directory / shard(number))
            if worker is not None:
                worker.suspend()
                end(worker)
                self.ending[number] = worker
                del self.left[number]
        for number, worker in list(self.ending.items()):
            if not worker.is_running():
                self.seen_after[number] = (self.directory / shard(number)).exists()
                del self.ending[number]

    def kill(self, worker):
        worker.kill()

    def scancel(self, worker):
        subprocess.run(["scancel", worker.environ()["SLURM_JOB_ID"]], check=True)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Where jobs look for programs."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("python", "speechprompt"):
        program = folder / name
        installed, forked = shutil.which(name), programs() / name
        program.write_text(PROGRAM.format(installed=installed, forked=forked))
        program.chmod(0o755)
    return {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        CHILDS_PYTHON: str(folder / "python"),
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory, environment, request):
    """The local run, the one through Slurm, and what the latter said."""
    remote = tmp_path_factory.mktemp("slurm")
    arguments = [*PROFILE, *HERE, *REQUESTS, "--config", "device=cpu", "--", TARGET]
    log = remote / "snakemake.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, IMPATIENT, programs() / "python", *options(remote, *arguments)],
            cwd=REPOSITORY,
            env=os.environ | environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    killer = Killer(remote)
    deadline = time.monotonic() + 1200
    try:
        while killer.at_work() and process.poll() is None and time.monotonic() < deadline:
            killer.step()
            time.sleep(0.01)
        local = request.getfixturevalue("finished")
        process.wait(timeout=deadline - time.monotonic())
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    said = log.read_text()
    assert process.returncode == 0, said
    return local, remote, said, killer


def test_units_and_accuracy_are_those_of_the_local_run(runs):
    local, remote, *_ = runs
    expected = hashes(local)
    parts = [name for name in expected if "/units/" in name and "part-" in name]
    assert len(parts) == 6
    assert "results/ks/acc.txt" in expected
    assert hashes(remote) == expected


def test_a_killed_worker_costs_its_shard_only(runs):
    *_, said, killer = runs
    assert not killer.at_work(), "no worker was caught"
    handed_over = submissions(said)
    again = {
        "rule_extract_features/mfcc_keywords_train_00000_00002": 2,
        "rule_extract_features/mfcc_keywords_train_00001_00002": 2,
        "rule_pretrain_unit_lm/tiny": 2,
    }
    assert {name: count for name, count in handed_over.items() if count > 1} == again
    shards = [name for name in handed_over if name.startswith("rule_extract_features/")]
    assert len(shards) == 6


def test_nothing_is_there_after_a_kill(runs):
    *_, killer = runs
    assert killer.seen_after == {0: False, 1: False}


def test_a_cancelled_job_is_retried(runs):
    *_, said, _ = runs
    cancelled = [job for job in slurm_jobs(said) if job["JobState"] == "CANCELLED"]
    assert any("extract_features" in job["Comment"] for job in cancelled)


def test_more_memory_is_asked_for_after_too_little(runs):
    _, remote, said, _ = runs
    trained = [job for job in slurm_jobs(said) if "pretrain_unit_lm" in job["Comment"]]
    trained.sort(key=lambda job: int(job["JobId"]))
    assert [job["MinMemoryNode"] for job in trained] == ["350M", "2800M"]
    assert [job["JobState"] == "COMPLETED" for job in trained] == [False, True]
    logs = (remote / ".snakemake/slurm_logs/rule_pretrain_unit_lm").rglob("*.log")
    assert "exceeded memory limit" in "".join(path.read_text() for path in logs).lower()


def test_a_request_for_a_gpu_reaches_slurm(runs):
    *_, said, _ = runs
    asking = {job["Comment"] for job in slurm_jobs(said) if "gpu:1" in job.get("TresPerJob", "")}
    assert asking == {"rule_fit_ngram_baseline_wildcards_ks"}


def test_short_steps_share_a_job(runs):
    *_, said, _ = runs
    groups = [name for name in submissions(said) if name.startswith("group_")]
    assert sorted(name.split("_")[1] for name in groups) == ["corpus", "finish"]
