"""Downloads of corpora: retried, hash-checked, unpacked without trusting the archive."""

from __future__ import annotations

import logging
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pooch

from speechprompt.errors import CorpusError
from speechprompt.files import sha256_file, write_text

__all__ = ["fetch_recorded", "unpack"]

RETRIES = 2


def fetch_recorded(url: str, archive: str | Path, record: str | Path) -> Path:
    """Download a file for which no hash is published: the first download's is recorded and kept.

    Args:
        url: Where the file is.
        archive: Where to put it; kept, and taken for the download next time.
        record: Text file of the SHA-256: written after the first download, enforced afterwards.

    Returns:
        ``archive``.

    Raises:
        CorpusError: the download fails, or the file is not the one recorded.
    """
    archive, record = Path(archive), Path(record)
    expected = record.read_text(encoding="utf-8").split()[0] if record.is_file() else None
    archive.parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel(logging.WARNING)
    downloader = pooch.create(
        path=archive.parent,
        base_url="",
        registry={archive.name: f"sha256:{expected}" if expected else None},
        urls={archive.name: url},
        retry_if_failed=RETRIES,
    )
    try:
        downloader.fetch(archive.name)
    except OSError as error:
        raise CorpusError(f"{url}: download failed ({error})") from error
    except ValueError as error:
        raise CorpusError(
            f"{url}: expected the SHA-256 {expected} recorded in {record}, found another file; "
            f"remove {record} only if you know why it changed"
        ) from error
    if expected is None:
        write_text(record, f"{sha256_file(archive)}  {archive.name}\n")
    return archive


def unpack(
    archive: str | Path, folder: str | Path, choose: Callable[[PurePosixPath], PurePosixPath | None]
) -> int:
    """Unpack the chosen files of a tar archive; the folder appears whole or not at all.

    Only regular files are written, and only below the folder.

    Args:
        archive: The archive.
        folder: Where its files go; replaced if it exists.
        choose: From a member's path to its path in ``folder``, or None to leave it out.

    Returns:
        The number of files.

    Raises:
        CorpusError: not a tar archive, damaged, none chosen, or a path that leaves the folder.
    """
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    count = 0
    try:
        with tarfile.open(archive) as stream:
            for member in stream:
                target = choose(PurePosixPath(member.name)) if member.isfile() else None
                if target is None:
                    continue
                if target.is_absolute() or ".." in target.parts:
                    raise CorpusError(f"{archive}: {member.name} would leave the folder")
                path = temporary / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with stream.extractfile(member) as source, path.open("wb") as out:
                    shutil.copyfileobj(source, out)
                count += 1
        if not count:
            raise CorpusError(f"{archive}: has none of the files expected")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CorpusError(f"{archive}: cannot be unpacked ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count
