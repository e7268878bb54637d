"""Text and JSON files between the stages, and folders, all written atomically."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from speechprompt.errors import ArtefactError, SpeechPromptError
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.locks import is_held, take
from speechprompt.storage.seals import SEAL, UNSEALED, DamageError, is_sealed, seal

__all__ = [
    "WRITE_ERRORS",
    "atomic_folder",
    "atomic_path",
    "check_intact",
    "content_of",
    "copy_file",
    "flush_file",
    "new_folder",
    "read_json",
    "sha256_artefact",
    "text_lines",
    "why_unreadable",
    "write_json",
    "write_text",
]

# How often a folder is put in place where other processes do the same.
ATTEMPTS = 100
# What the system says when a file cannot be written, and what helps.
WRITE_ERRORS = {
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some of your quota, or choose another place",
    errno.EROFS: "choose another place",
    errno.EFBIG: "choose another place",
}
REMAKE = "restore the file or make it again"


@contextmanager
def content_of(
    path: str | Path, expected: str = "as this package writes it", way_out: str = REMAKE
) -> Iterator[None]:
    """Let an error in what a file holds name the file.

    A file may be damaged, or be written by another program or version: a field is missing or has
    another type. This is for the use of what was read, where no check names the field itself.

    Args:
        path: The file.
        expected: How its content should be.
        way_out: What helps.

    Raises:
        ArtefactError: in place of any error that such content causes.
    """
    try:
        yield
    except (
        *(ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError),
        ValueError,
    ) as error:
        if "OutOfMemory" in type(error).__name__:  # an accelerator's, where the file may be right
            raise
        reason = " ".join(str(error).split())
        raise ArtefactError(
            f"{path}: its content is not {expected} ({type(error).__name__}: {reason[:200]}); "
            f"{way_out}"
        ) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path, which becomes ``path`` on success and is deleted on failure.

    The content is on the disk before it gets its name, so that a power cut leaves the old file or
    the new one.

    Raises:
        ArtefactError: there is a device, pipe or socket in its place, the disk is full, or the file
            cannot be written for another such reason.
    """
    path = Path(path)
    # Processes of other machines may have the same number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{token_hex(4)}.part")
    try:
        with _writing(path, every_error=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise ArtefactError(f"{path}: expected a file or none, found a device or a pipe")
        with _writing(path):
            yield temporary
        with _writing(path, every_error=True):
            flush_file(temporary)
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path, *, every_error: bool = False) -> Iterator[None]:
    """Let an error of the system that only writing can cause name the file and the way out."""
    try:
        yield
    except OSError as error:
        # Arrow has the number in its text only.
        found = re.search(r"errno (\d+)", str(error), re.IGNORECASE)
        number = error.errno or (int(found[1]) if found else 0)
        of_file = str(error.filename or "").startswith(str(path.parent / f".{path.name}"))
        if not (every_error or number in WRITE_ERRORS or of_file):
            raise
        reason = os.strerror(number) if number else str(error)
        advice = WRITE_ERRORS.get(number, "check the path and its permissions")
        raise ArtefactError(f"{path}: cannot be written ({reason}); {advice}") from error


def flush_file(path: Path) -> None:
    """Wait until a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder, which replaces ``path`` on success and is deleted on failure.

    All files are on the disk before the folder gets its name.

    Several processes may do so at once: each has a folder of its own, and the last one's stays.
    """
    path = Path(path)
    with _writing(path, every_error=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary, lock = _open_folder(path)
    try:
        with _writing(path):
            yield temporary
        with _writing(path, every_error=True):
            os.sync()  # there may be many files
            _put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Do :func:`atomic_folder` for a folder that somebody names, which must not have files.

    Raises:
        ArtefactError: there is something.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ArtefactError(f"{path}: exists already; choose another name or delete it")
    with atomic_folder(path) as temporary:
        yield temporary


def _open_folder(path: Path) -> tuple[Path, int]:
    """Make a temporary folder; it is locked as long as its descriptor is open."""
    while True:
        folder = path.with_name(f".{path.name}.{token_hex(4)}.part")
        folder.mkdir()
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process has taken it for an abandoned one, before it was locked
        if take(lock) and is_held(folder, lock):
            return folder, lock
        os.close(lock)  # likewise, since it was opened


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary folders that processes left behind when they were killed."""
    own = re.compile(rf"\.{re.escape(path.name)}(\.[0-9a-f]{{8}})?\.part(\.old)?")
    for folder in [one for one in path.parent.iterdir() if own.fullmatch(one.name)]:
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if take(lock, unsure=False):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename a folder; one that has the name already is moved away first and then deleted."""
    old = temporary.with_name(f"{temporary.name}.old")
    for _ in range(ATTEMPTS):
        with suppress(FileNotFoundError):
            os.replace(path, old)
        try:
            os.replace(temporary, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            break
        finally:
            _delete(old)
    else:
        raise OSError(errno.EEXIST, "other processes write it again and again")


def _delete(path: Path) -> None:
    """Delete a file or folder; another process may be about to do the same."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def copy_file(source: str | Path, out: str | Path) -> None:
    """Copy a file atomically.

    Raises:
        ArtefactError: the file is damaged.
    """
    with atomic_path(out) as temporary:
        shutil.copyfile(source, temporary)
        check_intact(temporary, source)


def sha256_artefact(path: str | Path) -> str:
    """Hex SHA-256 of a file, for a record that the file is right.

    Raises:
        ArtefactError: the file is damaged.
    """
    check_intact(path)
    return sha256_file(path)


def check_intact(path: str | Path, name: str | Path | None = None) -> bool:
    """Check a file's content by the hash in it.

    Args:
        path: the file.
        name: its name in the message.

    Returns:
        Whether there is a hash in it.

    Raises:
        ArtefactError: the file is damaged or cannot be read.
    """
    try:
        return is_sealed(path)
    except (OSError, DamageError) as error:
        raise ArtefactError(f"{name or path}: cannot be used ({error})") from error


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
    """Write indented JSON atomically, with keys in the given order; an object gets a seal."""
    is_object = isinstance(value, dict)
    value = {**value, SEAL: UNSEALED} if is_object else value
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
        if is_object:
            seal(temporary)


def read_json(path: str | Path) -> Any:
    """Read a JSON file, without its seal.

    Raises:
        ArtefactError: the file is missing, damaged or not JSON.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        if is_sealed(path):
            del value[SEAL]
        return value
    except (OSError, ValueError, LookupError, RecursionError) as error:
        raise ArtefactError(f"{path}: cannot be read as JSON ({error})") from error
