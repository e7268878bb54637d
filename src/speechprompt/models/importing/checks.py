"""What is checked before an imported file is believed: its sum, its weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechprompt.errors import ArtefactError, AssetError
from speechprompt.storage.hashes import sha256_file

__all__ = ["check_weights", "identify", "named_tensors"]

SHOWN = 8


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


def check_weights(
    origin: str | Path,
    what: str,
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, Tensor],
) -> None:
    """Compare names, shapes and number of parameters.

    Args:
        origin: The file, for the message.
        what: The architecture that it claims, for the message.
        expected: Shape of every weight under the file's own names.
        found: The file's weights, without those that are left out on purpose.

    Raises:
        ArtefactError: naming what is missing, surplus or of another shape.
    """
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "surplus": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{name} {tuple(found[name].shape)} instead of {expected[name]}"
            for name in sorted(expected.keys() & found.keys())
            if tuple(found[name].shape) != expected[name]
        ],
    }
    listed = [f"{problem}: {_shorten(names)}" for problem, names in problems.items() if names]
    if listed:
        n_expected = sum(math.prod(shape) for shape in expected.values())
        n_found = sum(tensor.numel() for tensor in found.values())
        raise ArtefactError(
            f"{origin}: expected the {n_expected:,} parameters of {what}, found {n_found:,}; "
            f"{'; '.join(listed)}"
        )


def _shorten(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
