"""What is checked before an imported file is believed: its sum, its form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechprompt.errors import ArtefactError, AssetError
from speechprompt.storage.hashes import sha256_file

__all__ = ["identify", "named_tensors"]


def identify(path: str | Path, sha256: str | None = None) -> dict[str, str]:
    """Name and SHA-256 of a file, for metadata.

    Args:
        path: The file.
        sha256: The sum that it must have, if any.

    Raises:
        AssetError: the file is missing, or has another sum.
    """
    try:
        found = sha256_file(path)
    except OSError as error:
        raise AssetError(f"{path}: cannot be read ({error})") from error
    if sha256 and found != sha256.lower():
        raise AssetError(
            f"{path}: expected the SHA-256 {sha256}, found {found}: the file is damaged or another"
        )
    return {"file": Path(path).name, "sha256": found}


def named_tensors(state: Any, origin: str) -> dict[str, Tensor]:
    """The entries of a state dict.

    Raises:
        ArtefactError: anything but names and tensors.
    """
    if not isinstance(state, Mapping):
        raise ArtefactError(f"{origin}: expected named weights, found {type(state).__name__}")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ArtefactError(
                f"{origin}: expected named weights, found {type(tensor).__name__} as {name!r}"
            )
    return dict(state)
