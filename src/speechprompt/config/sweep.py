"""Sweeps: one task trained again and again with single settings changed."""

from itertools import product
from typing import Any, Literal, NamedTuple

from pydantic import Field

from speechprompt.config.fields import Block, Count, Name
from speechprompt.config.tasks import SweptMethod, Task, VerbalizerKind

__all__ = ["SweepPoint", "SweepSettings"]


class SweepPoint(NamedTuple):
    """The settings that one training of a sweep has instead of the task's own."""

    method: str
    lm: str
    verbalizer: str
    length: int
    utterances: int | str  # "all" or how many

    def task(self, task: Task) -> Task:
        """The task with these settings.

        Raises:
            pydantic.ValidationError: they do not go together.
        """
        n = None if self.utterances == "all" else int(self.utterances)
        values: dict[str, Any] = task.model_dump()
        values |= {"method": self.method, "lm": self.lm, "verbalizer": self.verbalizer}
        values["prompt"] = {**values["prompt"], "length": int(self.length)}
        for settings in ("training", "finetuning"):
            values[settings] = {**values[settings], "utterances": n}
        return Task.model_validate(values)


class SweepSpace(Block):
    """All combinations of the listed values; an empty list takes the task's own value."""

    method: list[SweptMethod] = Field([], description="methods of training")
    lm: list[Name] = Field([], description="names under `lm`, of other codebooks for example")
    verbalizer: list[VerbalizerKind] = Field([], description="ways in which labels get their units")
    length: list[Count] = Field([], description="prompt rows")
    utterances: list[Count | Literal["all"]] = Field(
        [],
        description="numbers of train utterances to learn from, as `training.utterances`, or `all`",
    )


class SweepSettings(Block):
    """Which settings of which task are varied."""

    task: Name = Field(description="name under `tasks`, whose settings are varied")
    spaces: list[SweepSpace] = Field(
        min_length=1, description="each gives all combinations of its values"
    )

    def own(self, task: Task) -> SweepPoint:
        """The task's own settings; those of a prompt where the task trains a downstream model."""
        return SweepPoint(
            method="finetune" if task.method == "finetune" else "prompt",
            lm=task.lm,
            verbalizer=task.verbalizer,
            length=task.prompt.length,
            utterances=task.training.utterances or "all",
        )

    def points(self, task: Task) -> list[SweepPoint]:
        """The combinations of all spaces, each once, in the order given."""
        own = self.own(task)._asdict()
        found: dict[SweepPoint, None] = {}
        for space in self.spaces:
            values = [getattr(space, name) or [value] for name, value in own.items()]
            found |= dict.fromkeys(SweepPoint(*point) for point in product(*values))
        return list(found)
