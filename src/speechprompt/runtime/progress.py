"""Progress of long work: a bar on a terminal, and a line in the log file every half minute."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from pathlib import Path
from typing import TextIO, TypeVar

from tqdm import tqdm

from speechprompt.storage.text import printable

__all__ = ["QUIET", "log", "log_to", "progress", "show"]

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 30
# Set where jobs of a run shall write to their log files only, less warnings and errors.
QUIET = "SPEECHPROMPT_QUIET"
_log_file: TextIO | None = None


def log_to(path: str | Path) -> None:
    """Write the reports of :func:`log` and :func:`progress` to a file as well."""
    global _log_file
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _log_file = path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        # Work of hours must not end because its log cannot be written.
        _write_error(f"{printable(str(path))}: cannot be written ({error.strerror})")


def log(message: str, *, lines: bool = False, urgent: bool = False) -> None:
    """Report one line on standard error, above a running bar, and in the log file.

    Control characters, which names of files may have, are written as escapes.

    Args:
        message: The line.
        lines: The message has several lines.
        urgent: The message is an error, which is reported even where others are not.
    """
    message = printable(message, lines=lines)
    if urgent or QUIET not in os.environ or message.startswith("warning: "):
        _write_error(message)
    _write_line(message)


def show(result: str, *, tabs: bool = False) -> None:
    """Print a result on standard output, above a running bar; control characters as escapes.

    Args:
        result: Its lines.
        tabs: The lines have tabs on purpose.
    """
    tqdm.write(printable(result, lines=True, tabs=tabs), file=sys.stdout)
    sys.stdout.flush()


def progress(
    items: Iterable[T], description: str, total: int | None = None, unit: str = "utt"
) -> Iterator[T]:
    """Iterate and show a bar with rate and remaining time; without a terminal there is no bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    description = printable(description)
    started = due = time.monotonic()
    silent = not sys.stderr.isatty() or QUIET in os.environ
    with tqdm(
        desc=description, total=total, unit=unit, disable=silent, leave=False, dynamic_ncols=True
    ) as bar:
        for done, item in enumerate(items, start=1):
            yield item
            bar.update()
            if (now := time.monotonic()) >= due + SECONDS_BETWEEN_LINES:
                due = now
                rate = done / (now - started)
                left = f", {(total - done) / rate:.0f} s left" if total else ""
                of = f" of {total}" if total else ""
                _write_line(f"{description}: {done}{of} {unit}, {rate:.1f} {unit}/s{left}")


def _write_error(message: str) -> None:
    """Write on standard error, which a cluster may keep in a file on a full disk."""
    with suppress(OSError):
        tqdm.write(message, file=sys.stderr)


def _write_line(message: str) -> None:
    if _log_file is not None:
        with suppress(OSError):
            _log_file.write(message + "\n")
