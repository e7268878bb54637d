"""The workflow's plan as JSON: ``python planned_jobs.py FOLDER CONFIGFILE TARGET...``.

Every rule; the jobs that the targets take, each with the numbers of the jobs that it needs; the
modules that are loaded by then; and the shell text before every command.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.io import strip_wildcard_constraints
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)
from snakemake.shell import shell

SNAKEFILE = Path(__file__).parents[2] / "workflow/Snakefile"


def main(folder, configfile, *targets):
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(configfiles=[Path(configfile).resolve()]),
            snakefile=SNAKEFILE,
            workdir=Path(folder),
        )
        with contextlib.redirect_stdout(io.StringIO()):
            workflow.dag(DAGSettings(targets=set(targets))).printrulegraph()
        rules, dag = workflow._workflow.rules, workflow._workflow.dag
        numbers = {job: number for number, job in enumerate(dag.jobs)}
        jobs = [
            {
                "rule": job.rule.name,
                "wildcards": dict(job.wildcards.items()),
                "input": list(map(str, job.input)),
                "output": list(map(str, job.output)),
                "params": {name: str(value) for name, value in job.params.items()},
                "command": job.shellcmd,
                "needs": sorted(numbers[needed] for needed in dag.dependencies[job]),
            }
            for job in dag.jobs
        ]
        about = {
            rule.name: {
                "shell": rule.shellcmd,
                "params": [*rule.params.keys()],
                "resources": sorted(rule.resources),
                "environment": rule.conda_env,
                "log": [strip_wildcard_constraints(log) for log in rule.log],
                "benchmark": rule.benchmark and strip_wildcard_constraints(rule.benchmark),
            }
            for rule in rules
        }
    found = {"rules": about, "jobs": jobs, "modules": sorted(sys.modules)}
    json.dump(found | {"before": shell._process_prefix}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
