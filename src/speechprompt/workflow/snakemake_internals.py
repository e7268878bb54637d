"""All that the rules need of Snakemake beyond what it documents, in one place.

Snakemake may rename any of this in its next version. A missing name is an error that says so, and
a test uses each function in a real run.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from speechprompt.errors import ConfigError

__all__ = [
    "complete_rules",
    "config_files",
    "finished_files",
    "folder_of_rules",
    "given_words",
    "has_storage",
    "is_cluster",
    "is_complete",
    "is_main",
    "is_module",
    "jobs_that_want",
    "lift_limit_on_starts",
    "offer",
    "planned",
    "setup_name",
    "show_run",
    "sizes_of",
]

# Snakemake's default limit on job starts: so many in so many seconds.
JOB_STARTS = (100, 1)


def is_complete(workflow: Any, config: Mapping[str, Any]) -> bool:
    """Whether the configuration is a file of the user's, or a module's, complete in itself."""
    return bool(config if is_module(workflow) else config_files(workflow))


def is_module(workflow: Any) -> bool:
    """Whether another workflow uses this one as a module."""
    return _get(workflow, "modifier.base_snakefile") is not None


def config_files(workflow: Any) -> list[str]:
    """The files that ``--configfile`` names; none, where another workflow passes the values."""
    if is_module(workflow):
        return []
    return list(map(str, _get(workflow, "overwrite_configfiles") or ()))


def given_words(workflow: Any) -> list[str]:
    """The command line of the process that plans the run; Snakemake itself knows targets later."""
    return sys.argv[1:] if is_main(workflow) and not is_module(workflow) else []


def setup_name(workflow: Any) -> str:
    """The name of the set-up: that of its last file, without the ending."""
    files = config_files(workflow)
    return Path(files[-1]).stem if files else "config"


def is_main(workflow: Any) -> bool:
    """Whether this process plans the run; others run a single job."""
    return bool(_get(workflow, "is_main_process"))


def is_cluster(workflow: Any) -> bool:
    """Whether jobs are sent to other machines, ``--jobs`` of them at a time."""
    return bool(_get(workflow, "resource_settings.nodes"))


def has_storage(workflow: Any) -> bool:
    """Whether files are kept by a storage provider, and not in the working directory."""
    return _get(workflow, "storage_settings.default_storage_provider") is not None


def folder_of_rules(workflow: Any) -> Path:
    """The folder of the file of rules that is being read.

    ``workflow.basedir`` is another one where another workflow uses this one as a module.
    """
    return Path(os.path.normpath(_get(workflow, "current_basedir.get_path_or_uri")(False)))


def offer(workflow: Any, name: str, amount: int) -> None:
    """Let jobs use no more of a resource at once, unless the user said less."""
    given = _get(workflow, "global_resources")
    if name not in given or given[name].value > amount:
        _get(workflow, "register_resource")(name, amount)


def jobs_that_want(workflow: Any, resource: str) -> set[str]:
    """Rules whose jobs will ask this machine for a resource; none where a cluster runs them."""
    if not (is_main(workflow) and _get(workflow, "local_exec")):
        return set()
    jobs = _get(workflow, "dag.needrun_jobs")()
    return {_get(job, "rule.name") for job in jobs if _get(job, "resources").get(resource)}


def lift_limit_on_starts(workflow: Any) -> None:
    """Lift Snakemake's limit on job starts, unless the user set it.

    With it, every look at the open jobs arms a timer for the next one: after a few hundred jobs
    Snakemake looks at them a few hundred times a second, on a core of its own.
    """
    scheduler = _get(workflow, "scheduler")
    limiter = _get(scheduler, "job_rate_limiter")
    if limiter is not None:
        limit = (_get(limiter, "max_jobs"), _get(limiter, "timespan"))
        scheduler.job_rate_limiter = None if limit == JOB_STARTS else limiter


def complete_rules(
    workflow: Any, environment: str, code_of: Callable[[str], Callable[..., str]]
) -> None:
    """Give every rule what all rules have, so that none can lack it.

    These are its environment, the log ``logs/{rule}/{wildcards}.log``, the benchmark
    ``benchmarks/{rule}/{wildcards}.tsv``, and the parameter ``code``. The wildcards are in the
    order in which the first output has them, with ``-`` between them.

    Args:
        workflow: Snakemake's workflow, whose rules are all defined.
        environment: file of the conda environment, relative to the rules.
        code_of: makes the parameter ``code`` from a rule's verb, the first word after its log. A
            rule that has the parameter keeps it.
    """
    for rule in _get(workflow, "rules"):
        if _get(rule, "norun"):
            continue
        # An output also has the constraints of its wildcards: {part,\d{5}}.
        wildcards = dict.fromkeys(re.findall(r"\{([A-Za-z_]\w*)", str(_get(rule, "output")[0])))
        place = f"{_get(rule, 'name')}/{'-'.join(f'{{{name}}}' for name in wildcards)}".rstrip("/")
        rule.log_modifier = rule.benchmark_modifier = _get(rule, "output_modifier")
        _get(rule, "set_log")(f"logs/{place}.log")
        rule.benchmark = f"benchmarks/{place}.tsv"
        rule.conda_env = environment
        if not hasattr(_get(rule, "params"), "code"):
            verb = re.split(r"\{log(?::q)?\} ", _get(rule, "shellcmd"))[1].split()[0]
            _get(rule, "set_params")(code=code_of(verb))


def show_run(workflow: Any, display: Any) -> bool:
    """Let a handler show the run, and hide Snakemake's own messages from the terminal.

    They stay where the user asks for them by ``--verbose`` or ``--quiet=reason``, in dry runs, and
    in Snakemake's log file.

    Args:
        workflow: Snakemake's workflow.
        display: the handler. Its ``is_hidden`` says which messages are hidden.

    Returns:
        Whether the handler shows the run.
    """
    settings = _get(workflow, "output_settings")
    asked = _get(settings, "dryrun") or _get(settings, "verbose") or _get(settings, "quiet")
    manager = _get(workflow, "logger_manager")
    streams = [
        handler
        for handler in _get(manager, "logger").handlers
        if handler.name == "DefaultStreamHandler"
    ]
    if asked or not is_main(workflow) or is_module(workflow) or not streams:
        return False
    for handler in streams:
        handler.addFilter(lambda record: not display.is_hidden(record))
    # First, so that a message is written on a line of its own.
    _get(manager, "logger").handlers.insert(0, display)
    return True


def planned(workflow: Any) -> tuple[list[tuple[int, str]], int]:
    """Number and benchmark of each job that will run, and the cores that they share."""
    dag = _get(workflow, "dag")
    jobs = [
        (_get(dag, "jobid")(job), str(_get(job, "benchmark")))
        for job in _get(dag, "needrun_jobs")()
    ]
    return jobs, int(_get(workflow, "resource_settings.cores") or 1)


def finished_files(workflow: Any, rule: str) -> list[str]:
    """First outputs of all jobs of a rule."""
    jobs = [job for job in _get(workflow, "dag.jobs") if _get(job, "rule.name") == rule]
    return [str(_get(job, "output")[0]) for job in jobs]


def sizes_of(input: Any) -> Iterator[tuple[str, int]]:
    """Paths and bytes of a job's inputs; nothing, where one is not there yet."""
    from snakemake_interface_storage_plugins.exceptions import FileOrDirectoryNotFoundError

    try:
        sizes = _get(input, "size_files")
    except FileOrDirectoryNotFoundError:
        return
    yield from zip(map(str, input), sizes, strict=True)


def _get(found: Any, names: str) -> Any:
    for name in names.split("."):
        if not hasattr(type(found), name) and name not in getattr(found, "__dict__", ()):
            raise ConfigError(
                f"Snakemake {version('snakemake')} has no `{names}` where this workflow expects "
                "it; use the version in envs/speechprompt.txt"
            )
        found = getattr(found, name)
    return found
