"""Running a verb in a process forked from this one, and judging what it did."""

import io
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from speechprompt.cli import main

__all__ = ["CLEAN", "FAILED", "OUTCOMES", "SAME", "Case", "Process", "Stage", "Verdict", "judge"]

CLEAN, SAME = "clean error", "same result"
SILENT, HALF, TRACEBACK = "silent", "half-written", "traceback"
UNCLEAR, ENDLESS = "unclear error", "endless"
FAILED = (SILENT, HALF, TRACEBACK, UNCLEAR, ENDLESS)
OUTCOMES = (CLEAN, SAME, *FAILED)

# What is done to a process before the verb starts, such as a limit.
Sabotage = Callable[[], object]


@dataclass(frozen=True)
class Stage:
    """A verb with its arguments, and the files that it writes, relative to the run."""

    name: str
    words: Sequence[str]
    outputs: Sequence[str]


@dataclass(frozen=True)
class Verdict:
    """What became of a fault, and what the program said."""

    outcome: str
    said: str = ""


@dataclass(frozen=True)
class Case:
    """A fault: its name, and what injects it into a copy of the run and judges what follows."""

    name: str
    trial: Callable[[Path], Verdict]


@dataclass
class Process:
    """A verb that runs in a folder, in a process of its own.

    Attributes:
        folder: where it runs.
        words: the verb and its arguments.
        sabotage: what is done to the process first.
        status: its exit status; None if it was killed or did not end.
        said: what it printed.
    """

    folder: Path
    words: Sequence[str]
    sabotage: Sabotage | None = None
    status: int | None = None
    ended: bool = False
    said: str = ""
    _pid: int = 0
    _pipe: int = 0

    def start(self) -> "Process":
        """Fork, and run the verb there."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._pipe, inlet = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            self._work(inlet)
        os.close(inlet)
        return self

    def wait(self, seconds: float = 120) -> "Process":
        """Read what it prints until it ends; kill it when the time is over."""
        end, said = time.monotonic() + seconds, b""
        while select.select([self._pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            if not (more := os.read(self._pipe, 2**16)):
                self.ended = True
                break
            said += more
        os.close(self._pipe)
        if not self.ended:
            os.kill(self._pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self.status = code if code >= 0 else None
        self.said = said.decode(errors="replace")
        return self

    def _work(self, inlet: int) -> NoReturn:
        """Run the verb and end, whatever happens: the caller's work is not this process's."""
        status = 1
        try:
            for number in (1, 2):
                os.dup2(inlet, number)
            os.close(inlet)
            sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(n, "w")) for n in (1, 2))
            os.chdir(self.folder)
            if self.sabotage is not None:
                self.sabotage()
            status = main(self.words)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def judge(
    process: Process,
    stage: Stage,
    reference: Mapping[str, bytes],
    named: Sequence[str] = (),
    *,
    kept: bool = False,
) -> Verdict:
    """Say what became of a fault.

    Args:
        process: the verb, after its end.
        stage: the files that it writes.
        reference: content of each of them without the fault.
        named: an error is clear if it has one of these words; without any, every error is.
        kept: whether a temporary file may stay, for the next attempt to go on from.
    """
    outcome = _outcome(process, stage, reference, named)
    if outcome == CLEAN and not kept and any(process.folder.rglob(".*.part")):
        outcome = HALF
    return Verdict(outcome, process.said)


def _outcome(
    process: Process, stage: Stage, reference: Mapping[str, bytes], named: Sequence[str]
) -> str:
    if not process.ended:
        return ENDLESS
    if "Traceback (most recent call last)" in process.said:
        return TRACEBACK
    paths = {name: process.folder / name for name in stage.outputs}
    found = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
    wrong = any(content != reference[name] for name, content in found.items())
    if process.status == 0:
        return SILENT if wrong or len(found) < len(paths) else SAME
    if wrong:
        return HALF
    said = process.said.strip()
    return CLEAN if said and (not named or any(name in said for name in named)) else UNCLEAR
