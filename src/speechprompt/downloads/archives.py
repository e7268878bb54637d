"""Archives unpacked without trusting them: tar in any compression, and zip."""

from __future__ import annotations

import lzma
import os
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from speechprompt.errors import AssetError
from speechprompt.runtime.progress import log, progress

__all__ = ["unpack"]

BLOCK_BYTES = 2**20
# Many more than any published corpus has.
MAX_FILES = 1_000_000
LONGEST_LINK = 4096
# What a damaged, encrypted or unknown archive raises, besides what the disk does.
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(OSError, RuntimeError, NotImplementedError, UnicodeError),
)


@dataclass(frozen=True, slots=True)
class _Member:
    """One entry; ``link`` is where a link leads, relative to the archive's top."""

    name: str
    kind: str
    size: int
    open: Callable[[], BinaryIO]
    link: str = ""


def unpack(archive: str | Path, folder: str | Path, *, max_bytes: int) -> int:
    """Unpack the regular files of an archive; the folder appears whole or not at all.

    Only regular files are written, only below the folder, with no permissions or owners of the
    archive's. Links within the archive are passed over.

    Args:
        archive: A tar archive, compressed or not, or a zip archive.
        folder: Where its files go; replaced if it exists.
        max_bytes: Most bytes that they may have together.

    Returns:
        The number of files.

    Raises:
        AssetError: not an archive, damaged or empty; more than ``max_bytes``; a path that is
            absolute or leads out of the folder, a link that does, or a device.
    """
    archive, folder = Path(archive), Path(folder)
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        count = _write_files(archive, temporary, max_bytes)
        if not count:
            raise AssetError(f"{archive}: expected files, found none")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except DAMAGE as error:
        raise AssetError(f"{archive}: cannot be unpacked ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _write_files(archive: Path, folder: Path, max_bytes: int) -> int:
    count, left, passed_over = 0, max_bytes, 0
    for member in progress(_members(archive), f"unpack {archive.name}", unit="file"):
        path = folder / _safe_path(archive, member.name)
        if member.kind == "link":
            _safe_path(archive, member.link, f"link {member.name} to ")
            passed_over += 1
        elif member.kind == "other":
            raise AssetError(f"{archive}: {member.name} is neither a file nor a folder; refused")
        if member.kind != "file":
            continue
        count += 1
        left -= member.size
        if left < 0 or count > MAX_FILES:
            raise AssetError(
                f"{archive}: unpacks to more than the {max_bytes} bytes or {MAX_FILES} files "
                f"that are expected at most; stopped at {member.name}"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, path.open("wb") as out:
            written = _copy(source, out, member.size)
        if written != member.size:
            raise AssetError(
                f"{archive}: {member.name} is said to have {member.size} bytes, found "
                f"{'fewer' if written < member.size else 'more'}"
            )
    if passed_over:
        log(f"{archive}: {passed_over} links passed over")
    return count


def _copy(source: BinaryIO, out: BinaryIO, size: int) -> int:
    """Copy at most a block more than ``size`` bytes; return how many."""
    written = 0
    while written <= size and (block := source.read(BLOCK_BYTES)):
        written += out.write(block)
    return written


def _safe_path(archive: Path, name: str, what: str = "") -> PurePosixPath:
    """The path below the folder, or an error."""
    path = PurePosixPath(posixpath.normpath(name))
    if path.is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
        raise AssetError(f"{archive}: {what}{name!r} would leave the folder; refused")
    return path


def _members(archive: Path) -> Iterator[_Member]:
    if _is_zip(archive):
        with zipfile.ZipFile(archive) as stream:
            for entry in stream.infolist():
                yield _from_zip(stream, entry)
        return
    with tarfile.open(archive) as stream:
        for entry in stream:
            yield _from_tar(stream, entry)


def _is_zip(archive: Path) -> bool:
    """Whether it begins as a zip archive too; a tar archive may end with one that it holds."""
    with archive.open("rb") as stream:
        return stream.read(2) == b"PK" and zipfile.is_zipfile(archive)


def _from_tar(stream: tarfile.TarFile, entry: tarfile.TarInfo) -> _Member:
    kind, link = "other", ""
    if entry.isreg():
        kind = "file"
    elif entry.isdir():
        kind = "folder"
    elif entry.issym():
        kind, link = "link", _link_target(entry.name, entry.linkname)
    elif entry.islnk():
        kind, link = "link", entry.linkname
    return _Member(entry.name, kind, entry.size, lambda: stream.extractfile(entry), link)


def _from_zip(stream: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Member:
    mode, kind, link = entry.external_attr >> 16, "file", ""
    if entry.is_dir():
        kind = "folder"
    elif stat.S_ISLNK(mode):
        with stream.open(entry) as content:
            target = content.read(LONGEST_LINK).decode()
        kind, link = "link", _link_target(entry.filename, target)
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        kind = "other"
    return _Member(entry.filename, kind, entry.file_size, lambda: stream.open(entry), link)


def _link_target(name: str, target: str) -> str:
    """Where a symbolic link leads, from the archive's top; with ``..`` if it leads out of it."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
