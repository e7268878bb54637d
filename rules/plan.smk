# The checked configuration, the plan that all rules call, and what this machine offers them.

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from speechprompt.errors import ConfigError
from speechprompt.runtime.gpus import memory_mb
from speechprompt.storage.text import printable
from speechprompt.workflow import snakemake_internals as internals
from speechprompt.workflow.configuration import load_config
from speechprompt.workflow.paths import CODEBOOK, FEATURES, MANIFEST, PART, SEED, UNITS, UNIT_LM
from speechprompt.workflow.plan import Plan
from speechprompt.workflow.resources import Machine
from speechprompt.workflow.run_display import QUIET, RunDisplay, earlier_seconds, results_box
from speechprompt.workflow.sweep import POINT

CHECKOUT = internals.folder_of_rules(workflow).parent
IS_MAIN, IS_CLUSTER = internals.is_main(workflow), internals.is_cluster(workflow)

DISPLAY = RunDisplay()
IS_SHOWN = internals.show_run(workflow, DISPLAY)

try:
    CONFIG = load_config(
        config,
        default=CHECKOUT / "config.yaml",
        complete=internals.is_complete(workflow, config),
        # A job has the inputs of its rule and no more; with storage, Snakemake looks for files.
        are_files_here=IS_MAIN and not internals.has_storage(workflow),
        is_alone=not internals.is_module(workflow),
        files=internals.config_files(workflow) if IS_MAIN else (),
    )
    PLAN = Plan(CONFIG, Machine.find(CONFIG, is_main=IS_MAIN, is_cluster=IS_CLUSTER))
    PLAN.results.refuse_unknown(internals.given_words(workflow))
except ConfigError as error:
    raise WorkflowError(printable(str(error), lines=True)) from None

# Short names for what nearly every rule has. needs(1500, 5, minutes=60) is an hour, 1500 MB, and 5 MB more for
# every MB that a job reads.
needs, THREADS = PLAN.resources.needs, CONFIG.compute_threads


# Jobs elsewhere that fetch from the hub have its token and address, where they are set.
envvars:
    *PLAN.models.hub_variables(),


wildcard_constraints:
    **PLAN.wildcard_constraints(),


# Counted where jobs run here, and only there.
resource_scopes:
    gpu="local",


shell.prefix(PLAN.resources.environment(CHECKOUT))
if PLAN.machine.gpu_slots:
    internals.offer(workflow, "gpu", len(PLAN.machine.gpu_slots))
if IS_MAIN and not IS_CLUSTER:
    internals.offer(workflow, "mem_mb", memory_mb())


def refuse_without_gpu():
    """Stop before the first job if one wants a GPU and this machine, which would run it, has none."""
    if PLAN.machine.device != "cuda" or PLAN.machine.gpu_slots:
        return
    if wanting := internals.jobs_that_want(workflow, "gpu"):
        raise WorkflowError(
            f"device: cuda is configured, but this machine has no GPU for {min(wanting)}; "
            "use cpu or auto, or the profile of a cluster."
        )


def jobs_and_cores():
    """Expected seconds of the jobs that will run, by their numbers, and the cores that they share."""
    jobs, cores = internals.planned(workflow)
    return earlier_seconds(jobs), cores


def show_results():
    """Show the results of the tasks whose scores were asked for."""
    DISPLAY.finish()
    files = [Path(path) for path in internals.finished_files(workflow, "finish_task")]
    # Files that a storage provider keeps are not here.
    scores = [
        path for path in files if path.suffix == ".txt" and path.with_name("metrics.json").is_file()
    ]
    if IS_SHOWN and (folders := sorted(str(path.parent) for path in scores)):
        print(results_box(folders), file=sys.stderr)


onstart:
    refuse_without_gpu()
    internals.lift_limit_on_starts(workflow)
    if IS_SHOWN:
        os.environ[QUIET] = "1"
        DISPLAY.expect(*jobs_and_cores())


onsuccess:
    show_results()


onerror:
    DISPLAY.finish()
