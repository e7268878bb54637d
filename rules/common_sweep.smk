# What the trainings of a sweep have in the place of a task's own settings.

from typing import get_args

import pandas as pd
from snakemake.utils import Paramspace

from speechprompt.config.sweep import SweepPoint
from speechprompt.config.tasks import VerbalizerKind


wildcard_constraints:
    verbalizer=one_of(get_args(VerbalizerKind)),
    length=r"\d+",
    utterances=r"\d+|all",


def sweep_space():
    """Settings of the sweep's trainings, as Snakemake's parameter space."""
    return Paramspace(pd.DataFrame(CONFIG.sweep_points(), columns=SweepPoint._fields))


SWEEP = sweep_space()
SWEEP_FOLDER = f"results/sweep/{SWEEP.wildcard_pattern}/seed-{{seed}}"


def swept_task(wildcards):
    point = SweepPoint(*(getattr(wildcards, name) for name in SweepPoint._fields))
    return point.task(CONFIG.tasks[CONFIG.sweep.task])


def swept_inputs(wildcards):
    return inputs_of(swept_task(wildcards))


def swept_lm(wildcards):
    return lm_file(wildcards.lm)


def swept_scored(wildcards):
    return scored_of(swept_task(wildcards))


def swept_settings(wildcards):
    return training_settings(swept_task(wildcards), wildcards.method)


def swept_decoding(wildcards):
    return block_to_json(swept_task(wildcards).decoding)


def sweep_metrics():
    """metrics.json of every training of the sweep."""
    return [
        f"results/sweep/{point}/seed-{seed}/metrics.json"
        for point in SWEEP.instance_patterns
        for seed in CONFIG.seeds
    ]


def sweep_points():
    """Settings of each of them, and which are the task's own, as JSON."""
    own = CONFIG.sweep and CONFIG.sweep.own(CONFIG.tasks[CONFIG.sweep.task])._asdict()
    return json.dumps(
        [
            {
                **point._asdict(),
                "seed": seed,
                "own": [name for name, value in point._asdict().items() if value == own[name]],
            }
            for point in CONFIG.sweep_points()
            for seed in CONFIG.seeds
        ]
    )


def sweep_task():
    return CONFIG.sweep.task if CONFIG.sweep else ""
