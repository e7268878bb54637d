"""Running the pipeline in tests as users run it."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def command(directory, *arguments, configfile="configs/ci.yaml", workflow=REPOSITORY):
    """The command line of Snakemake; without a configfile it is config.yaml's set-up."""
    configured = ["--configfile", str(REPOSITORY / configfile)] if configfile else []
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(workflow / "workflow/Snakefile")),
        *("--directory", str(directory), *configured, *arguments),
    ]


def snakemake(directory, *arguments, check=True, **settings):
    """Run Snakemake; where it must succeed and does not, fail with all logs."""
    done = subprocess.run(
        command(directory, *arguments, **settings),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=900,
    )
    if check and done.returncode:
        logs = "\n".join(path.read_text() for path in Path(directory).glob("logs/**/*.log"))
        pytest.fail(f"{done.stdout}\n{done.stderr}\n{logs}")
    return done


def planned(directory, *arguments, **settings):
    """Rule names of the jobs that a dry run plans."""
    full = snakemake(directory, "-n", *arguments, **settings)
    lines = (full.stdout + full.stderr).splitlines()
    return {
        line.split()[1].rstrip(":") for line in lines if line.startswith(("rule ", "localrule "))
    }
