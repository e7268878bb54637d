"""Locks between processes that make the same file or folder, also on different machines."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

__all__ = ["is_held", "locked", "take"]


@contextmanager
def locked(path: str | Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Let one process at a time make a file or folder; the others wait until it is done.

    Whoever waited finds what the other one made. The lock is a hidden file beside ``path``, which
    is gone afterwards. The system frees the lock of a process that dies. Where a file system has no
    locks or cannot be written, nobody waits.

    Args:
        path: The file or folder.
        tell: Is called with a sentence before the process waits.
    """
    path = Path(path)
    place = path.with_name(f".{path.name}.lock")
    descriptor = _acquire(place, partial(tell, f"{path}: another process is making it; waiting"))
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                place.unlink(missing_ok=True)
            os.close(descriptor)


def _acquire(place: Path, tell: Callable[[], None]) -> int | None:
    while True:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        if not take(descriptor):
            tell()
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The file of whoever was done in the meantime is gone, and so is its lock.
        if is_held(place, descriptor):
            return descriptor
        os.close(descriptor)


def take(descriptor: int, *, unsure: bool = True) -> bool:
    """Lock an open file or folder, unless another process has.

    Args:
        descriptor: The open file or folder.
        unsure: The result where the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return unsure
    return True


def is_held(place: Path, descriptor: int) -> bool:
    """Whether a path still leads to the open file or folder."""
    try:
        return os.path.samestat(os.stat(place), os.fstat(descriptor))
    except FileNotFoundError:
        return False
