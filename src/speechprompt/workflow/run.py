"""The short way to a call of Snakemake."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from speechprompt.cli.verb import ExitStatus
from speechprompt.config import Config, parse_config, read_config
from speechprompt.errors import ConfigError, nearest
from speechprompt.runtime.progress import log
from speechprompt.workflow.configuration import check_files

__all__ = ["find_workflow", "run", "snakemake_call"]

SNAKEFILE = Path("workflow/Snakefile")


def run(
    tasks: Sequence[str] = (),
    config: Path | None = None,
    cores: int | None = None,
    dry_run: bool = False,
) -> ExitStatus:
    """Run tasks of a set-up by Snakemake, after printing the call.

    Args:
        tasks: names of tasks of the configuration; without any, everything is made.
        config: YAML configuration (default: config.yaml of the checkout).
        cores: cores to use (default: all of this machine).
        dry_run: show what would run, and run nothing.

    Returns:
        Snakemake's exit status.

    Raises:
        ConfigError: the configuration is missing or wrong, has no such task, or there is no
            Snakemake.
    """
    if find_spec("snakemake") is None:
        raise ConfigError("Snakemake is not installed: pip install 'speechprompt[workflow]'")
    checkout = find_workflow()
    setup = parse_config(read_config(config or checkout / "config.yaml"))
    check_files(setup)
    words = snakemake_call(setup, tasks, checkout, config, cores, dry_run=dry_run)
    log(shlex.join(["snakemake", *words]))
    # Rules call `speechprompt` by its name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [sys.executable, "-m", "snakemake", *words]
    with subprocess.Popen(command, env=os.environ | {"PATH": path}) as process:
        while True:
            try:
                return ExitStatus(process.wait())
            except KeyboardInterrupt:  # Snakemake has got it too, and ends its jobs
                continue


def snakemake_call(
    setup: Config,
    tasks: Sequence[str],
    checkout: Path,
    config: Path | None = None,
    cores: int | None = None,
    *,
    dry_run: bool = False,
) -> list[str]:
    """What follows Snakemake's name.

    Args:
        setup: the checked configuration.
        tasks: names of tasks.
        checkout: folder that holds the workflow.
        config: file of the configuration, unless it is the workflow's own.
        cores: cores to use; None is all.
        dry_run: whether nothing is to run.

    Raises:
        ConfigError: there is no such task.
    """
    words = ["--cores", str(cores or len(os.sched_getaffinity(0)))]
    if not SNAKEFILE.is_file():  # Snakemake finds that of the working directory itself
        words += ["--snakefile", str(checkout / SNAKEFILE)]
    words += ["--dry-run"] if dry_run else []
    for task in tasks:
        if task not in setup.tasks:
            known = ", ".join(setup.tasks) or "none"
            raise ConfigError(
                f"no task {task!r} in {config or 'config.yaml'}{nearest(task, setup.tasks) or ';'} "
                f"tasks: {known}"
            )
        words.append(f"results/{task}/{setup.tasks[task].score_file}")
    return [*words, "--configfile", str(config)] if config else words


def find_workflow() -> Path:
    """The folder that holds the workflow.

    It is the working directory, the checkout of the package, or what the wheel has of it.

    Raises:
        ConfigError: there is none.
    """
    package = Path(__file__).parents[1]
    for folder in (Path(), package.parents[1], package / "pipeline"):
        if (folder / SNAKEFILE).is_file():
            return folder
    raise ConfigError(
        f"{SNAKEFILE}: expected in the working directory, or beside the package's sources"
    )
