"""Hashes of files and settings, and pseudo-random numbers that are hashes of names."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from io import BufferedIOBase, FileIO
from pathlib import Path
from typing import Any

__all__ = ["identity", "sha256_file", "sha256_json", "share_of"]

# A file that was written within the last moments may change again without a new time stamp.
SETTLED_NS = 2 * 10**9
_KNOWN: dict[tuple[int, ...], str] = {}


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's content; a file that does not change is read once a process."""
    with open(path, "rb") as stream:
        state = identity(stream)
        if state is None or state not in _KNOWN:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            if state is None:
                return found
            _KNOWN[state] = found
        return _KNOWN[state]


def identity(stream: FileIO | BufferedIOBase) -> tuple[int, ...] | None:
    """What changes when an open file's content does; None as long as it may not."""
    about = os.fstat(stream.fileno())
    if time.time_ns() - about.st_ctime_ns < SETTLED_NS:
        return None
    return (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def sha256_json(values: Mapping[str, Any]) -> str:
    """Hex SHA-256 of values as JSON; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def share_of(key: str) -> float:
    """A number from 0 to 1 that depends on the key alone; different keys spread evenly."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
