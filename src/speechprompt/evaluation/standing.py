"""Where a result stands: its score beside the strongest baseline, and a verdict in a few words."""

from dataclasses import dataclass
from typing import Self

from speechprompt.evaluation.metrics import Score, in_percent
from speechprompt.evaluation.names import short_name
from speechprompt.evaluation.scores import Metrics
from speechprompt.evaluation.verdict import standing

__all__ = ["Standing"]


@dataclass(frozen=True)
class Standing:
    """The main metric of a task on the last scored split, beside its strongest baseline.

    Attributes:
        task: name of the task.
        method: name of the method.
        metric: name of the main metric.
        split: the split.
        score: the score.
        n_seeds: number of seeds that it is a mean over.
        baseline: name of the baseline; None without one.
        floor: score of the baseline.
        gain: paired gain over the baseline.
    """

    task: str
    method: str
    metric: str
    split: str
    score: Score
    n_seeds: int
    baseline: str | None = None
    floor: Score | None = None
    gain: Score | None = None

    @classmethod
    def of(cls, metrics: Metrics) -> Self:
        """Take the row of a metrics.json."""
        split, scores = list(metrics.splits.items())[-1]
        name, sign = metrics.main.name, 1 if metrics.main.higher_is_better else -1
        own = (metrics.task, metrics.method, name, split, scores[name], len(metrics.seeds))
        if not metrics.floors:
            return cls(*own)
        best = max(metrics.floors, key=lambda key: sign * metrics.floors[key][split][name].value)
        return cls(*own, best, metrics.floors[best][split][name], metrics.gains[best][split][name])

    @property
    def verdict(self) -> str:
        """Above, level with or below the baseline, by the interval of the paired gain."""
        if self.gain is None:
            return "no baseline"
        return f"{standing(self.gain)} the baseline"

    def written(self) -> str:
        """The score in percent with its interval."""
        return in_percent(self.score.value, self.score.interval, " %")

    def written_baseline(self) -> str:
        """Name and score of the baseline, or a dash."""
        if self.baseline is None or self.floor is None:
            return "–"
        return f"{short_name(self.baseline)} {100 * self.floor.value:.2f} %"
