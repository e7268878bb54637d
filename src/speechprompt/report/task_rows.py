"""The row of a task in the overview's table: its score beside everything it is compared with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from speechprompt.evaluation.metrics import Score
from speechprompt.evaluation.names import TASKS, short_name
from speechprompt.evaluation.scores import Metrics
from speechprompt.evaluation.standing import Standing

__all__ = ["Mark", "TaskRow"]

ORDER = ["below", "level", "above", "no"]  # the first words of verdicts, the worst first


@dataclass(frozen=True)
class Mark:
    """A mark on the strip of a task.

    Attributes:
        kind: ``own``, ``baseline``, ``method`` or ``paper``.
        place: percent of the strip's width; further to the right is better.
        text: what it is, and its value in percent.
    """

    kind: str
    place: float
    text: str


@dataclass(frozen=True)
class TaskRow:
    """What the table shows of a task.

    Attributes:
        name, title: its name, and what it is in words.
        metric: its main metric.
        standing: its score, beside its strongest baseline.
        against: name of that baseline.
        place: percent of the strip's width at which the score is.
        whisker: start and width of the interval on the strip, in percent of the width.
        marks: the score's mark last, so that it covers the others.
        ends: what the strip's left and right end mean, in percent.
    """

    name: str
    title: str
    metric: str
    standing: Standing
    against: str
    place: float
    whisker: tuple[float, float]
    marks: list[Mark]
    ends: tuple[int, int]

    @property
    def order(self) -> int:
        """A number by which verdicts are sorted, the worst first."""
        return ORDER.index(self.standing.verdict.split()[0])

    @classmethod
    def of(cls, methods: Mapping[str, Metrics], reported: Mapping[tuple[str, str], float]) -> Self:
        """Make the row of a task.

        Args:
            methods: metrics of each method, the task's own first.
            reported: what the paper reports, by task and method, as fractions.
        """
        own, *others = methods.values()
        metric, rising = own.main.name, own.main.higher_is_better
        split, scores = list(own.splits.items())[-1]
        standing = Standing.of(own)
        paper = reported.get((own.task, own.method))
        baselines = {name: floor[split][metric].value for name, floor in own.floors.items()}
        values = [*baselines.values(), *(other.main.value for other in others), paper or 0.0]
        scale = _Scale.over([scores[metric].interval[1], *values], rising)

        def mark(kind: str, name: str, value: float) -> Mark:
            return Mark(kind, scale.place(value), f"{name}: {100 * value:.2f} %")

        marks = [mark("baseline", short_name(n), value) for n, value in baselines.items()]
        marks += [mark("paper", "the paper, on another corpus", paper)] if paper else []
        for other in others:
            marks.append(mark("method", short_name(other.method), other.main.value))
        marks.append(mark("own", short_name(own.method), own.main.value))
        return cls(
            name=own.task,
            title=TASKS.get(own.task, own.type.replace("_", " ")),
            metric=metric,
            standing=standing,
            against=short_name(standing.baseline or ""),
            place=scale.place(own.main.value),
            whisker=scale.whisker(scores[metric]),
            marks=marks,
            ends=scale.ends,
        )


@dataclass(frozen=True)
class _Scale:
    """The scale of a strip, on which further to the right is better."""

    top: float
    rising: bool

    @classmethod
    def over(cls, values: list[float], rising: bool) -> Self:
        """A scale from 0 to 100 %; error rates may be higher."""
        return cls(max(1.0, math.ceil(10 * min(max(values), 3.0)) / 10), rising)

    def place(self, value: float) -> float:
        share = min(max(value / self.top, 0.0), 1.0)
        return round(100 * (share if self.rising else 1 - share), 3)

    def whisker(self, score: Score) -> tuple[float, float]:
        left, right = sorted(map(self.place, score.interval))
        return left, round(right - left, 3)

    @property
    def ends(self) -> tuple[int, int]:
        top = round(100 * self.top)
        return (0, top) if self.rising else (top, 0)
