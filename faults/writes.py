"""Counting what a process writes, to die or to fail at one of these moments."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from faults.trial import Process, Stage

__all__ = ["MAKING", "count", "die_at", "fail_at"]

MAKING = {"open", "os.rename", "os.mkdir"}
REMOVING = {"os.remove", "os.rmdir"}
WRITING = os.O_WRONLY | os.O_RDWR


def count(folder: Path, stage: Stage, events: set[str] = MAKING | REMOVING) -> int:
    """How often a stage changes a file."""
    record = folder.with_name(f"{folder.name}.writes")
    record.touch()

    def note(path: str) -> None:
        # The record is beside the folder, so that this is no write itself.
        descriptor = os.open(record, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, b".")
        os.close(descriptor)

    Process(folder, stage.words, lambda: _at_every_write(note, events)).start().wait()
    return record.stat().st_size


def die_at(number: int) -> Callable[[], None]:
    """SIGKILL at the given write, from 1."""
    act = _from(number, lambda path: os.kill(os.getpid(), signal.SIGKILL))
    return lambda: _at_every_write(act, MAKING | REMOVING)


def fail_at(number: int, reason: int) -> Callable[[], None]:
    """Let nothing be made from the given write on, for a reason of ``errno``."""

    def fail(path: str) -> None:
        raise OSError(reason, os.strerror(reason), path)

    return lambda: _at_every_write(_from(number, fail), MAKING)


def _at_every_write(act: Callable[[str], None], events: set[str]) -> None:
    """Call a function with the path of every file below this folder that is about to change."""
    here = os.getcwd()

    def hook(event: str, arguments: tuple) -> None:
        if event not in events or (event == "open" and not _writes(*arguments)):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(here + os.sep):
            act(path)

    sys.addaudithook(hook)


def _writes(path: object, mode: object, flags: int) -> bool:
    return isinstance(path, str | bytes | os.PathLike) and bool(flags & WRITING)


def _from(number: int, act: Callable[[str], None]) -> Callable[[str], None]:
    """What acts at the given call and at all later ones."""
    left = number

    def countdown(path: str) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            act(path)

    return countdown
