"""Running the pipeline in tests as users run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forkserver import programs

REPOSITORY = Path(__file__).parents[1]
INSTALLED = (sys.executable, "-m", "snakemake")


def options(directory, *arguments, configfile="configs/ci.yaml", workflow=REPOSITORY):
    """What follows Snakemake's name; without a configfile it is config.yaml's set-up."""
    configured = ["--configfile", str(REPOSITORY / configfile)] if configfile else []
    return [
        *("--snakefile", str(workflow / "workflow/Snakefile")),
        *("--directory", str(directory), *configured, *arguments),
    ]


def call(directory, *arguments, installed=False, environment=None, **settings):
    """How subprocess is to start Snakemake.

    It and its jobs are forked from a process that has imported them, unless the installed programs
    are wanted.
    """
    program, path = INSTALLED, os.environ["PATH"]
    if not installed:
        program, path = [programs() / "snakemake"], f"{programs()}{os.pathsep}{path}"
    return {
        "args": [*program, *options(directory, *arguments, **settings)],
        "env": os.environ | {"PATH": path} | (environment or {}),
        "cwd": REPOSITORY,
    }


def snakemake(directory, *arguments, check=True, **settings):
    """Run Snakemake; where it must succeed and does not, fail with all logs."""
    started = call(directory, *arguments, **settings)
    done = subprocess.run(**started, capture_output=True, text=True, timeout=900)
    if check and done.returncode:
        logs = "\n".join(path.read_text() for path in Path(directory).glob("logs/**/*.log"))
        pytest.fail(f"{done.stdout}\n{done.stderr}\n{logs}")
    return done


def link_sources(folder):
    """Make a folder look like the checkout; an executor ships the sources below where it runs."""
    for name in ("workflow", "rules", "configs", "envs"):
        (folder / name).symlink_to(REPOSITORY / name)


def planned(directory, *arguments, **settings):
    """Rule names of the jobs that a dry run plans."""
    full = snakemake(directory, "-n", *arguments, **settings)
    lines = (full.stdout + full.stderr).splitlines()
    return {
        line.split()[1].rstrip(":") for line in lines if line.startswith(("rule ", "localrule "))
    }
