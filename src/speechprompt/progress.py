"""Progress of long work: a bar on a terminal, a line now and then in a log, silence otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

__all__ = ["log", "progress"]

T = TypeVar("T")


def progress(
    items: Iterable[T], description: str, total: int | None = None, unit: str = "utt"
) -> Iterator[T]:
    """Iterate under a progress bar with rate and remaining time; quiet off a terminal."""
    quiet = not sys.stderr.isatty()
    return iter(tqdm(items, desc=description, total=total, unit=unit, disable=quiet))


def log(message: str) -> None:
    """Print one line to standard error, above a running progress bar."""
    tqdm.write(message, file=sys.stderr)
