"""A sweep in the plan: one task trained again and again with single settings changed."""

import json

from speechprompt.config.sweep import SweepPoint
from speechprompt.config.tasks import Task
from speechprompt.workflow.paths import Wildcards
from speechprompt.workflow.tasks import Trainings

__all__ = ["POINT", "Sweep"]

# Settings of a training and their values as folders, such as method~prompt/lm~nano/…
POINT = "/".join(f"{name}~{{{name}}}" for name in SweepPoint._fields)
PICTURES = ("by_parameters", "by_utterances", "by_choice")


class Sweep(Trainings):
    """What the rules of a sweep ask for; without one, no training is planned."""

    def task(self) -> str:
        """Name of the task whose settings are varied."""
        return self.config.sweep.task if self.config.sweep else ""

    def metrics(self) -> list[str]:
        """metrics.json of every training, in the order of :meth:`points`."""
        return [
            f"results/sweep/{POINT.format(**point._asdict())}/seed-{seed}/metrics.json"
            for point in self.config.sweep_points()
            for seed in self.config.seeds
        ]

    def points(self, wildcards: Wildcards = None) -> str:
        """Settings of each training, and which of them are the task's own, as JSON."""
        sweep = self.config.sweep
        own = sweep.own(self.config.tasks[sweep.task])._asdict() if sweep else {}
        points = [
            {
                **point._asdict(),
                "seed": seed,
                "own": [name for name, value in point._asdict().items() if value == own[name]],
            }
            for point in self.config.sweep_points()
            for seed in self.config.seeds
        ]
        return json.dumps(points)

    def pictures(self) -> list[str]:
        """What is drawn of a sweep."""
        return [f"results/sweep/{name}.svg" for name in PICTURES]

    def targets(self) -> list[str]:
        """The table of the sweep, if there is one."""
        return ["results/sweep/sweep.parquet"] if self.config.sweep else []

    def _task(self, wildcards: Wildcards) -> Task:
        point = SweepPoint(*(getattr(wildcards, name) for name in SweepPoint._fields))
        return point.task(self.config.tasks[self.task()])
