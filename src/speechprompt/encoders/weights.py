"""What encoders with weights share: files that describe themselves, strict checks, precision."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from speechprompt.errors import ArtefactError

__all__ = ["check_weights", "full_precision", "read_config"]


def read_config(path: str | Path, metadata: Mapping[str, str], *, kind: str) -> dict[str, Any]:
    """The model's configuration from the metadata of its safetensors file.

    Raises:
        ArtefactError: the file does not hold the weights of an encoder of this kind.
    """
    try:
        if json.loads(metadata["kind"]) == kind:
            return dict(json.loads(metadata["config"]))
    except (KeyError, TypeError, ValueError):
        pass
    raise ArtefactError(
        f"{path}: expected weights of kind {kind!r} with their configuration in the metadata, "
        f"found metadata {sorted(metadata)}; write the file with `save_{kind}`"
    )


def check_weights(
    path: str | Path,
    *,
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
) -> None:
    """Compare the shapes of weights by name.

    Raises:
        ArtefactError: weights are missing, surplus or of another shape; the message lists them.
    """
    wrong = {
        "missing": sorted(expected.keys() - found.keys()),
        "surplus": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{name} {found[name]} instead of {expected[name]}"
            for name in sorted(expected.keys() & found.keys())
            if found[name] != expected[name]
        ],
    }
    problems = [f"{problem}: {', '.join(names)}" for problem, names in wrong.items() if names]
    if problems:
        raise ArtefactError(f"{path}: weights do not fit the configuration; {'; '.join(problems)}")


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Keep TF32, which shifts frames across unit boundaries, out of cuDNN."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield
