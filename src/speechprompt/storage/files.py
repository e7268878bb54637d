"""Text and JSON files between the stages, and folders, all written atomically."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speechprompt.errors import ArtefactError, SpeechPromptError

__all__ = [
    "atomic_folder",
    "atomic_path",
    "copy_file",
    "read_json",
    "text_lines",
    "why_unreadable",
    "write_json",
    "write_text",
]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path, which becomes ``path`` on success and is deleted on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder, which replaces ``path`` on success and is deleted on failure."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_file(source: str | Path, out: str | Path) -> None:
    """Copy a file atomically."""
    with atomic_path(out) as temporary:
        shutil.copyfile(source, temporary)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def text_lines(path: str | Path, error: type[SpeechPromptError]) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the stripped text of every line that is not blank.

    A byte order mark at the start is no part of the text.

    Raises:
        SpeechPromptError: the file cannot be read as UTF-8 text; the error has the given class.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if text := line.strip():
                    yield number, text
    except (OSError, ValueError) as reason:
        raise error(f"{path}: cannot be read as UTF-8 text ({why_unreadable(path, reason)})") from (
            reason
        )


def why_unreadable(path: str | Path, reason: Exception) -> str:
    """Say why a file cannot be read as UTF-8 text; for a wrong byte, name its line."""
    if not isinstance(reason, UnicodeDecodeError):
        return str(reason)
    with Path(path).open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as wrong:
                return f"line {number}: {wrong.reason}: byte 0x{line[wrong.start]:02x}"
    return str(reason)


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON atomically, with keys in the given order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtefactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: cannot be read as JSON ({error})") from error
