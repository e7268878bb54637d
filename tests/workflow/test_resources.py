"""What jobs ask for, and that GPUs are shared out as configured, on machines with made-up GPUs.

Where jobs really run, they compute on the processor: only the count of GPUs is made up.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from forkserver import programs
from pipeline import REPOSITORY, snakemake

pytestmark = pytest.mark.slow

GPU_RULES = {
    *("pretrain_unit_lm", "train_prompt", "score_prompt", "extract_features"),
    *("train_downstream", "score_downstream"),
}
# Instead of the command line of the package: notes when jobs run, and has them on the processor.
NOTING = """#!/bin/sh
echo "start $3 $SPEECHPROMPT_DEVICE" >> "$NOTES"
SPEECHPROMPT_DEVICE=cpu {real} "$@"
status=$?
echo "end $3 $SPEECHPROMPT_DEVICE" >> "$NOTES"
exit $status
"""


def run(directory, *arguments, gpus="", path=None, **settings):
    """Snakemake on a machine with these GPUs."""
    environment = {"SPEECHPROMPT_GPUS": gpus, "NOTES": str(directory / "notes")}
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{os.environ['PATH']}"
    done = snakemake(directory, *arguments, check=False, environment=environment, **settings)
    return done.returncode, done.stdout + done.stderr


def asked(directory, *arguments, **settings):
    """What a dry run says that jobs ask for: resources by rule, the last job's of each."""
    status, told = run(directory, "-n", *arguments, **settings)
    assert status == 0, told
    rules = {}
    for block in re.split(r"\n(?=(?:local)?rule )", told):
        named = re.match(r"(?:local)?rule (\w+):", block)
        if named and (found := re.search(r"^    resources: (.*)$", block, re.MULTILINE)):
            pairs = re.findall(r"(\w+)=([^,]+)", found.group(1))
            rules[named.group(1)] = dict(pairs) | {"block": block}
    rules.pop("all", None)
    return rules


@pytest.mark.parametrize(
    "configfile",
    ["configs/ci.yaml", "configs/nano.yaml", "configs/paper.yaml", "configs/paper-cpc.yaml", None],
)
def test_every_rule_asks_for_memory_and_time(tmp_path, configfile):
    recordings = tmp_path / "recordings/recordings.csv"  # of configs/nano.yaml
    recordings.parent.mkdir()
    recordings.write_text("path,split\n")
    rules = asked(tmp_path, "--cores", "2", "all", configfile=configfile)
    assert len(rules) > 8
    for name, resources in rules.items():
        assert int(resources["mem_mb"]) >= 400, name
        assert int(resources["runtime"]) >= 10, name


def test_rules_that_no_set_up_plans_have_resources_too(planned_jobs):
    for name, rule in planned_jobs["rules"].items():
        assert name == "all" or {"_cores", "mem_mb", "runtime"} <= set(rule["resources"]), name


def test_memory_and_time_grow_with_what_is_read_and_with_the_attempt(tmp_path):
    """By a checkpoint of 200 MB that cannot be imported, tried twice."""
    checkpoint = tmp_path / "model.pt"
    with checkpoint.open("wb") as stream:
        stream.truncate(200 * 2**20)
    setup = tmp_path / "setup.yaml"
    blocks = {"encoders": {"big": {"kind": "hubert", "checkpoint": str(checkpoint)}}}
    setup.write_text(yaml.safe_dump(blocks))
    target = "resources/models/big/model.safetensors"
    arguments = ("--cores", "1", "--retries", "1", "--verbose", "--", target)
    status, told = run(tmp_path, *arguments, configfile=setup)
    assert status
    assert re.findall(r"mem_mb=(\d+)", told)[:2] == ["2500", "5000"]
    assert re.findall(r"runtime=(\d+)", told)[:2] == ["60", "120"]


@pytest.mark.parametrize(
    ("gpus", "arguments", "expected"),
    [
        ("", (), set()),
        ("0", (), GPU_RULES),
        ("0", ("--config", "device=cpu"), set()),
        ("", ("--config", "device=cuda"), GPU_RULES),
        # On a cluster this machine's GPUs decide nothing.
        ("0,1", ("--jobs", "4"), set()),
        ("", ("--jobs", "4", "--config", "device=cuda"), GPU_RULES),
    ],
)
def test_who_asks_for_a_gpu(tmp_path, gpus, arguments, expected):
    setup = tmp_path / "setup.yaml"
    values = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    # One task by every method, and a unit LM that is trained here.
    values["tasks"] = {"ks": values["tasks"]["ks"]}
    values["lm"] = {"nano": {"codebook": "nano100", "corpora": ["keywords"]}}
    setup.write_text(yaml.safe_dump(values))
    rules = asked(tmp_path, "all", "--cores", "2", *arguments, gpus=gpus, configfile=setup)
    assert {name for name, found in rules.items() if "gpu" in found} == expected
    assert all(found.get("gpu", "1") == "1" for found in rules.values())


def test_encoders_without_a_network_leave_gpus_alone(tmp_path):
    rules = asked(tmp_path, "all", "--cores", "2", gpus="0")
    assert "gpu" in rules["train_prompt"]
    assert "gpu" not in rules["extract_features"]


def test_cuda_without_a_gpu_starts_no_job(tmp_path):
    status, told = run(tmp_path, "--cores", "2", "all", "--config", "device=cuda")
    assert status
    assert "device: cuda is configured, but this machine has no GPU" in told
    assert "Traceback" not in told
    assert not (tmp_path / "resources").exists()


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A set-up of ready units, run up to its unit LM on a machine of one GPU."""
    folder = tmp_path_factory.mktemp("ready")
    generator = np.random.default_rng(1)
    for split, n in (("train", 200), ("valid", 40)):
        labels = generator.integers(4, size=n)
        lines = (
            " ".join(map(str, (generator.integers(5, size=12) + 5 * label).tolist()))
            + f" <s> {label}"
            for label in labels
        )
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    (folder / "dict.txt").write_text("".join(f"{unit} 1\n" for unit in range(20)))
    setup = {
        "seeds": [1, 2],
        "compute_threads": 1,
        "corpora": {
            "ready": {
                "kind": "units",
                "codebook": "given",
                "train": str(folder / "train.txt"),
                "valid": str(folder / "valid.txt"),
                "test": None,
                "columns": ["word"],
            }
        },
        "codebooks": {"given": {"kind": "external", "dictionary": str(folder / "dict.txt")}},
        "lm": {
            "tiny": {
                **{"codebook": "given", "corpora": ["ready"], "layers": 2, "heads": 2},
                **{"dim": 32, "ffn": 64, "max_epochs": 1},
            }
        },
        "tasks": {
            "word": {
                **{"corpus": "ready", "lm": "tiny", "labels": ["word"]},
                "training": {"max_epochs": 2},
            }
        },
    }
    path = folder / "setup.yaml"
    path.write_text(yaml.safe_dump(setup))
    return path


@pytest.fixture
def noting(tmp_path):
    """A folder for the path with a command line that notes when jobs run."""
    program = tmp_path / "bin" / "speechprompt"
    program.parent.mkdir()
    program.write_text(NOTING.format(real=programs() / "speechprompt"))
    program.chmod(0o755)
    return program.parent


def at_once(notes):
    """The most jobs on a GPU at a time, from the notes."""
    running, most = 0, 0
    for line in notes.read_text().splitlines():
        event, verb, device = line.split()
        assert device == "cuda"
        if verb in ("pretrain-unit-lm", "train-prompt", "score-prompt"):
            running += 1 if event == "start" else -1
            most = max(most, running)
    return most


def test_prompt_trainings_share_a_gpu_only_as_configured(ready, noting, tmp_path):
    targets = [f"results/word/prompt/seed-{seed}/prompt.safetensors" for seed in (1, 2)]
    notes = tmp_path / "notes"
    settings = {"gpus": "0", "path": noting, "configfile": ready}
    status, told = run(tmp_path, "--cores", "4", "--verbose", *targets, **settings)
    assert status == 0, told
    assert at_once(notes) == 1
    # Nor does Snakemake look at the open jobs again and again while these run.
    looks = told.count("Resources before job selection")
    assert looks <= told.count("Finished jobid") + 2
    alone = [Path(tmp_path, target).read_bytes() for target in targets]

    notes.unlink()
    # Beside --cores, --jobs lifts Snakemake's limit on cores, but not this one.
    arguments = ("--cores", "4", "--jobs", "4", "--config", "device=cuda")
    forced = ("--forcerun", "train_prompt", "--", *targets)
    status, told = run(tmp_path, *arguments, *forced, **settings)
    assert status == 0, told
    assert at_once(notes) == 1

    notes.unlink()
    shared = ("--config", "jobs_per_gpu=2")
    status, told = run(tmp_path, "--cores", "4", *shared, *forced, **settings)
    assert status == 0, told
    assert at_once(notes) == 2
    assert [Path(tmp_path, target).read_bytes() for target in targets] == alone

    # Neither is a reason to run anything again.
    for change in ((), shared, ("--config", "device=cpu")):
        status, told = run(tmp_path, "-n", *change, "--", *targets, **settings)
        assert "Nothing to be done" in told, told
