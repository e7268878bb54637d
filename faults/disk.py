"""Disk: it is full, read-only or over the quota, and later it is not."""

import errno
import resource
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from faults.tiny import STAGES, Tiny
from faults.trial import CLEAN, SAME, SILENT, Case, Process, Stage, Verdict, judge
from faults.writes import MAKING, count, fail_at

__all__ = ["faults"]

REASONS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "over the quota": errno.EDQUOT}
SHARES = (0.0, 0.5, 0.95)  # of the longest file


def faults(run: Tiny) -> Iterator[Case]:
    """Every stage fails at its first, middle and last write, and at files of a certain size."""
    for name, stage in STAGES.items():
        with tempfile.TemporaryDirectory() as place:
            folder = run.copy(Path(place, "run"), without=stage)
            total = count(folder, stage, MAKING)
        moments = (1, (1 + total) // 2, total)
        for (what, reason), moment in zip(REASONS.items(), moments, strict=True):
            trial = partial(_fail, run, stage, fail_at(moment, reason))
            yield Case(f"{name}: {what} at write {moment} of {total}", trial)
        longest = max(len(run.content[output]) for output in stage.outputs)
        for share in SHARES:
            limit = int(share * longest)
            yield Case(
                f"{name}: no file above {limit} bytes",
                partial(_fail, run, stage, partial(_limit_files, limit)),
            )


def _limit_files(n_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def _fail(run: Tiny, stage: Stage, sabotage: Callable[[], None], place: Path) -> Verdict:
    run.copy(place, without=stage)
    process = Process(place, stage.words, sabotage).start().wait()
    verdict = judge(process, stage, run.content, ["results/"])
    if verdict.outcome != CLEAN:
        return verdict
    again = judge(Process(place, stage.words).start().wait(), stage, run.content)
    return verdict if again.outcome == SAME else Verdict(SILENT, again.said)
