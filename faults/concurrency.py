"""Concurrency: the same command is given twice at once, in the same folder."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from faults.tiny import STAGES, Tiny
from faults.trial import CLEAN, SAME, Case, Process, Stage, Verdict, judge

__all__ = ["faults"]

AT_ONCE = 3


def faults(run: Tiny) -> Iterator[Case]:
    """Every stage, several times at once."""
    for name, stage in STAGES.items():
        yield Case(f"{name}, {AT_ONCE} times at once", partial(_together, run, stage))


def _together(run: Tiny, stage: Stage, place: Path) -> Verdict:
    run.copy(place, without=stage)
    processes = [Process(place, stage.words).start() for _ in range(AT_ONCE)]
    verdicts = [judge(process.wait(), stage, run.content) for process in processes]
    # A loser may say that it lost; nobody may say that all is well where it is not.
    wrong = [verdict for verdict in verdicts if verdict.outcome not in (SAME, CLEAN)]
    again = judge(Process(place, stage.words).start().wait(), stage, run.content)
    return next(iter(wrong), again)
