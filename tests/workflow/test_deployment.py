"""What can be checked of the ways of deployment without conda and a container engine."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml


def pins(lines):
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def test_the_conda_environment_has_the_versions_of_the_lock(repository):
    lock = pins((repository / "envs/speechprompt.txt").read_text().splitlines())
    environment = yaml.safe_load((repository / "envs/speechprompt.yaml").read_text())
    python, pip, listed = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert set(listed["pip"]) == lock
    assert len(listed["pip"]) == len(lock)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in lock)


def test_every_rule_names_that_environment(repository):
    for path in (repository / "rules").glob("*.smk"):
        for environment in re.findall(r'conda:\n\s+"(.*)"', path.read_text()):
            assert environment == "../envs/speechprompt.yaml", path


@pytest.mark.slow
def test_the_image_has_all_that_a_run_reads(repository, tmp_path):
    """What the Containerfile copies, in a folder by itself, plans the embedded set-up."""
    image = tmp_path / "image"
    image.mkdir()
    copied = re.findall(r"^COPY (.*) (\S+)$", (repository / "Containerfile").read_text(), re.M)
    for sources, target in copied:
        for source in sources.split():
            if (repository / source).is_dir():
                shutil.copytree(repository / source, image / target)
            else:
                shutil.copy(repository / source, image / target)
    ignored = (repository / ".dockerignore").read_text().splitlines()
    assert {f"!{source}" for sources, _ in copied for source in sources.split()} <= set(ignored)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(image / "workflow/Snakefile")),
            *("-n", "--directory", str(tmp_path / "data")),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(image / "src")},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rule train_prompt:" in done.stdout + done.stderr
