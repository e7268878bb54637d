"""Hashes of files and settings, and pseudo-random numbers that are hashes of names."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["sha256_file", "sha256_json", "share_of"]


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(values: Mapping[str, Any]) -> str:
    """Hex SHA-256 of values as JSON; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def share_of(key: str) -> float:
    """A number from 0 to 1 that depends on the key alone; different keys spread evenly."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
