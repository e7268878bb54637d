"""Archives unpacked without trusting them: tar in any compression, and zip."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from speechprompt.errors import AssetError
from speechprompt.runtime.progress import log, progress

__all__ = ["unpack"]

# Many more than any published corpus has.
MAX_FILES = 1_000_000
LONGEST_LINK = 4096
# What a damaged, encrypted or unknown archive raises, besides what the disk does.
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(OSError, RuntimeError, NotImplementedError, UnicodeError),
)


def unpack(archive: str | Path, folder: str | Path, *, max_bytes: int) -> int:
    """Unpack the regular files of an archive; the folder appears whole or not at all.

    Only regular files are written, only below the folder, with no permissions, times or owners of
    the archive's. Links within the archive are passed over.

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
    gate = _Gate(archive, max_bytes)
    try:
        (_unpack_zip if _is_zip(archive) else _unpack_tar)(archive, temporary, gate)
        if not gate.n_files:
            raise AssetError(f"{archive}: expected files, found none")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except DAMAGE as error:
        raise AssetError(f"{archive}: cannot be unpacked ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if gate.n_links:
        log(f"{archive}: {gate.n_links} links passed over")
    return gate.n_files


@dataclass
class _Gate:
    """An extraction filter: ``tarfile.data_filter``, stricter on names, with a budget.

    Attributes:
        archive: The archive, for messages.
        max_bytes: Most bytes that its files may have together.
        n_bytes: Bytes of the files that were let through.
        n_files: Number of those files.
        n_links: Links that were passed over.
    """

    archive: Path
    max_bytes: int
    n_bytes: int = 0
    n_files: int = 0
    n_links: int = 0

    def __call__(self, member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        """The member as it may be written, or None if it is no regular file."""
        name = member.name
        # The standard filter would write absolute paths below the folder, and knows no backslash.
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise AssetError(f"{self.archive}: {name!r} would leave the folder; refused")
        try:
            safe = tarfile.data_filter(member, folder)
        except tarfile.SpecialFileError as error:
            raise AssetError(
                f"{self.archive}: {name} is neither a file nor a folder; refused"
            ) from error
        except tarfile.FilterError as error:
            raise AssetError(
                f"{self.archive}: link {name} to {member.linkname!r} would leave the folder; "
                "refused"
            ) from error
        if not safe.isreg():
            self.n_links += safe.issym() or safe.islnk()
            return None
        self.n_files += 1
        self.n_bytes += safe.size
        if self.n_bytes > self.max_bytes or self.n_files > MAX_FILES:
            raise AssetError(
                f"{self.archive}: unpacks to more than the {self.max_bytes} bytes or {MAX_FILES} "
                f"files that are expected at most; stopped at {name}"
            )
        return safe.replace(mode=None, mtime=None, deep=False)


def _unpack_tar(archive: Path, folder: Path, gate: _Gate) -> None:
    with tarfile.open(archive) as stream:
        members = progress(stream, f"unpack {archive.name}", unit="file")
        stream.extractall(folder, members, filter=gate)


def _unpack_zip(archive: Path, folder: Path, gate: _Gate) -> None:
    with zipfile.ZipFile(archive) as stream:
        for entry in progress(stream.infolist(), f"unpack {archive.name}", unit="file"):
            if gate(_as_tar(stream, entry), str(folder)):
                # Never more than the bytes that the entry declares, and these match its checksum.
                stream.extract(entry, folder)


def _is_zip(archive: Path) -> bool:
    """Whether it begins as a zip archive too; a tar archive may end with one that it holds."""
    with archive.open("rb") as stream:
        return stream.read(2) == b"PK" and zipfile.is_zipfile(archive)


def _as_tar(stream: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tarfile.TarInfo:
    """What an entry of a zip archive would be in a tar archive."""
    member = tarfile.TarInfo(entry.filename)
    member.size = entry.file_size
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.is_dir():
        member.type = tarfile.DIRTYPE
    elif kind == stat.S_IFLNK:
        member.type = tarfile.SYMTYPE
        with stream.open(entry) as content:
            member.linkname = content.read(LONGEST_LINK).decode()
    elif kind not in (0, stat.S_IFREG):
        member.type = tarfile.CHRTYPE
    return member
