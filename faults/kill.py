"""Kill: a process dies in the middle, and the same command is given again."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from faults.tiny import STAGES, Tiny
from faults.trial import HALF, SILENT, Case, Process, Stage, Verdict, judge
from faults.writes import count, die_at

__all__ = ["faults"]

MOMENTS = 5  # of each stage
PROGRAM = "import sys; from speechprompt.cli import main; sys.exit(main(sys.argv[1:]))"
# Parts of the time that a whole program takes, most of which goes to imports.
SHARES = {"prepare-csv": 0.9, "fit-codebook": 0.95, "train-prompt": 0.95}


def faults(run: Tiny) -> Iterator[Case]:
    """Every stage dies at some of the moments when it changes a file; three real programs too."""
    for name, stage in STAGES.items():
        with tempfile.TemporaryDirectory() as place:
            folder = run.copy(Path(place, "run"), without=stage)
            total = count(folder, stage)
        moments = {round(n) for n in np.linspace(1, total, min(total, MOMENTS))}
        for moment in sorted(moments):
            trial = partial(_die, run, stage, moment)
            yield Case(f"{name} dies at write {moment} of {total}", trial)
    for name, share in SHARES.items():
        yield Case(f"the program {name} dies", partial(_end_program, run, STAGES[name], share))


def _die(run: Tiny, stage: Stage, moment: int, place: Path) -> Verdict:
    run.copy(place, without=stage)
    process = Process(place, stage.words, die_at(moment)).start().wait()
    if process.status is not None:
        return Verdict(SILENT, f"it did not die: {process.said}")
    return _again(run, stage, place)


def _end_program(run: Tiny, stage: Stage, share: float, place: Path) -> Verdict:
    run.copy(place, without=stage)
    words = [sys.executable, "-c", PROGRAM, *stage.words]
    begin = time.monotonic()
    subprocess.run(words, cwd=place, check=True, capture_output=True)
    seconds = time.monotonic() - begin
    for name in stage.outputs:
        (place / name).unlink()
    program = subprocess.Popen(words, cwd=place, stderr=subprocess.DEVNULL)
    time.sleep(share * seconds)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    return _again(run, stage, place)


def _again(run: Tiny, stage: Stage, place: Path) -> Verdict:
    """What is there is whole; the same command, given again, makes the rest."""
    for name in stage.outputs:
        if (place / name).is_file() and (place / name).read_bytes() != run.content[name]:
            return Verdict(HALF, f"{name} is not whole")
    process = Process(place, stage.words).start().wait()
    verdict = judge(process, stage, run.content)
    return verdict if process.status == 0 else Verdict(SILENT, f"not made: {process.said}")
