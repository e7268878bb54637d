"""Safe unpacking of archives from elsewhere: tar in any compression, and zip."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from speechprompt.errors import AssetError
from speechprompt.runtime.progress import log, progress
from speechprompt.storage.files import WRITE_ERRORS, atomic_folder

__all__ = ["unpack"]

# No published corpus has nearly as many.
MAX_FILES = 1_000_000
LONGEST_LINK = 4096
# Names and further attributes of a member are read into memory; few bytes can unpack to gigabytes.
LONGEST_HEADER = 2**20
FILES = (*tarfile.REGULAR_TYPES, tarfile.GNUTYPE_SPARSE)
# Zeros behind the last file; most archives have some ten thousand.
MAX_PADDING = 2**24
# The errors that a damaged, encrypted or unknown archive raises, and those of the disk.
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(OSError, RuntimeError, NotImplementedError, UnicodeError),
)


def unpack(archive: str | Path, folder: str | Path, *, max_bytes: int) -> int:
    """Unpack the regular files of an archive; the folder appears whole or not at all.

    Files are written only below the folder. They do not get the permissions, times and owners that
    the archive states. Links to files of the archive are skipped.

    Args:
        archive: A tar archive, compressed or not, or a zip archive.
        folder: Folder for its files; an existing one is replaced.
        max_bytes: The most bytes that the files may have together.

    Returns:
        The number of files.

    Raises:
        AssetError: the archive is damaged, empty or no archive, holds more than ``max_bytes``, a
            device, or a path or link that is absolute or leads out of the folder.
    """
    archive = Path(archive)
    gate = _Gate(archive, max_bytes)
    try:
        with atomic_folder(folder) as temporary:
            _extract(archive, temporary, gate)
            if not gate.n_files:
                raise AssetError(f"{archive}: expected files, found none")
    except DAMAGE as error:
        raise AssetError(f"{archive}: cannot be unpacked ({error})") from error
    if gate.n_links:
        log(f"{archive}: {gate.n_links} links skipped")
    return gate.n_files


def _extract(archive: Path, folder: Path, gate: "_Gate") -> None:
    """Unpack an archive; names that the system refuses are damage of the archive too."""
    try:
        (_unpack_zip if _is_zip(archive) else _unpack_tar)(archive, folder, gate)
    except OSError as error:
        if error.errno in WRITE_ERRORS:
            raise
        reason = error.strerror or str(error)
        raise AssetError(f"{archive}: cannot be unpacked ({reason})") from error


@dataclass
class _Gate:
    """An extraction filter: ``tarfile.data_filter`` with stricter names and a budget of bytes.

    Attributes:
        archive: The archive, for messages.
        max_bytes: The most bytes that its files may have together.
        n_bytes: Bytes of the files that have passed.
        n_files: Number of those files.
        n_links: Number of links that were skipped.
        n_members: Number of all entries, folders among them.
    """

    archive: Path
    max_bytes: int
    n_bytes: int = 0
    n_files: int = 0
    n_links: int = 0
    n_members: int = 0

    def __call__(self, member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        """Return the member as it may be written, or None if it is no regular file."""
        name = member.name
        self.n_members += 1
        if self.n_members > 2 * MAX_FILES:
            raise AssetError(f"{self.archive}: has more than {2 * MAX_FILES} entries")
        # The standard filter writes absolute paths below the folder, and ignores backslashes.
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
        # Its documentation says None, typeshed does not know that.
        return safe.replace(mode=None, mtime=None, deep=False)  # type: ignore[arg-type]


class _Member(tarfile.TarInfo):
    """A member whose name and attributes have a bounded length."""

    def _proc_member(self, stream: tarfile.TarFile) -> tarfile.TarInfo:
        # What is no file is a link, folder or device, or tells the next member's name.
        is_file = self.type not in tarfile.SUPPORTED_TYPES or self.type in FILES
        if not is_file and self.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(stream)  # type: ignore[misc]  # not in typeshed


def _unpack_tar(archive: Path, folder: Path, gate: _Gate) -> None:
    with tarfile.open(archive, tarinfo=_Member) as stream:
        members = progress(stream, f"unpack {archive.name}", unit="file")
        stream.extractall(folder, members, filter=gate)
        # The sum of the compressed bytes is at their end, behind what ends the archive.
        if stream.fileobj is not None:
            stream.fileobj.read(MAX_PADDING)


def _unpack_zip(archive: Path, folder: Path, gate: _Gate) -> None:
    with zipfile.ZipFile(archive) as stream:
        for entry in progress(stream.infolist(), f"unpack {archive.name}", unit="file"):
            if gate(_as_tar(stream, entry), str(folder)):
                # This writes at most the bytes that the entry declares, and checks their sum.
                stream.extract(entry, folder)


def _is_zip(archive: Path) -> bool:
    """Whether the file begins as a zip archive; a tar archive of zip files only ends as one."""
    with archive.open("rb") as stream:
        return stream.read(2) == b"PK" and zipfile.is_zipfile(archive)


def _as_tar(stream: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tarfile.TarInfo:
    """Describe an entry of a zip archive as a member of a tar archive."""
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
