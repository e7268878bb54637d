"""GPUs and memory of a machine, and the claim of a GPU; the machines are made up, the locks not."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from speechprompt.cli import main
from speechprompt.cli.verb import take_device
from speechprompt.errors import ConfigError
from speechprompt.runtime.gpus import claim_gpu, gpu_slots, gpus, memory_mb

HOLD = """
import sys, time
from speechprompt.runtime.gpus import claim_gpu
print(claim_gpu(sys.argv[1].split(","), sys.argv[2]), flush=True)
time.sleep(60)
"""


@pytest.fixture
def two_gpus(tmp_path):
    """A folder of device files as the driver makes them for two GPUs."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps", "null"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def holder(tmp_path):
    """Starts processes that claim a GPU and keep it; returns the process and its GPU."""
    started = []

    def start(slots):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, slots, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["0", "1"]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ["1"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f6d, 0"}, ["GPU-8f6d", "0"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, ["0"]),
        ({"SPEECHPROMPT_GPUS": "3", "CUDA_VISIBLE_DEVICES": "0"}, ["3"]),
        ({"SPEECHPROMPT_GPUS": ""}, []),
    ],
)
def test_gpus_that_are_there_and_allowed(two_gpus, environment, expected):
    assert gpus(environment, two_gpus) == expected


def test_a_variable_alone_makes_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus({"CUDA_VISIBLE_DEVICES": "0,1"}, tmp_path) == []


def test_gpus_without_device_files_are_asked_of_the_driver(tmp_path, monkeypatch):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'GPU 0: Some card (UUID: GPU-1)'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpus({}, tmp_path) == ["0"]


def test_slots_name_different_gpus_first():
    assert gpu_slots(["0", "1"], 2) == ["0", "1", "0", "1"]


def test_jobs_share_a_gpu_as_often_as_it_has_slots_and_no_more(holder, tmp_path):
    taken = sorted(holder("0,1,0,1")[1] for _ in range(4))
    assert taken == ["0", "0", "1", "1"]
    late = subprocess.Popen(
        [sys.executable, "-c", HOLD, "0,1,0,1", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "waiting for one of 4 GPU slots" in late.stderr.readline()
        assert late.poll() is None
    finally:
        late.kill()
        late.communicate()


def test_a_killed_job_gives_its_gpu_back(holder, tmp_path):
    process, name = holder("0")
    assert name == "0"
    process.send_signal(signal.SIGKILL)
    process.wait()
    start = time.monotonic()
    assert claim_gpu(["0"], tmp_path) == "0"
    assert time.monotonic() - start < 5


def test_memory_is_that_of_the_container(tmp_path):
    machine = memory_mb(tmp_path)
    assert machine > 100
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_mb(tmp_path) == machine
    (tmp_path / "memory.max").write_text("64000000\n")
    assert memory_mb(tmp_path) == 64


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_job_sees_the_gpu_that_it_claimed_and_is_refused_where_there_is_none(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("SPEECHPROMPT_GPU_SLOTS", "7,8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(ConfigError, match="cuda is configured but this machine has none"):
        take_device("cuda")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    assert take_device("cpu") == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_encoder_without_a_network_does_without_a_gpu(tmp_path, monkeypatch, capsys):
    """With `device: cuda` jobs that did not ask for a GPU run where there may be none."""
    monkeypatch.delenv("SPEECHPROMPT_GPU_SLOTS", raising=False)
    files = ["--manifest", str(tmp_path / "none.parquet")]
    command = ["extract-features", *files, "--out", str(tmp_path / "f"), "--device", "cuda"]
    for encoder, found in (
        ({"kind": "mfcc"}, "none.parquet"),
        ({"kind": "hubert", "weights": "w"}, "cuda is configured"),
    ):
        assert main([*command, "--encoder", json.dumps(encoder)]) == 1
        assert found in capsys.readouterr().err


def test_a_folder_of_somebody_else_is_not_used_for_locks(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / f"speechprompt-{os.getuid()}").symlink_to(own)
    with pytest.raises(ConfigError, match="expected a folder of your own"):
        claim_gpu(["0"], tmp_path)
    assert not list(own.iterdir())
