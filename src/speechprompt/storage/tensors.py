"""Safetensors files: equal content gives equal bytes."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from speechprompt.errors import ArtefactError, some_of
from speechprompt.storage.files import atomic_path
from speechprompt.storage.seals import SEAL, UNSEALED, DamageError, is_sealed, seal

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = [
    "TENSOR_TYPES",
    "Shapes",
    "check_shapes",
    "read_tensor_header",
    "read_tensor_metadata",
    "read_tensors",
    "shapes_of",
    "write_tensors",
]

# The shape of each tensor by its name.
Shapes = Mapping[str, tuple[int, ...]]

# torch's types and safetensors' names for them, in the order in which the library lays them out.
TENSOR_TYPES = {
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}


def write_tensors(
    path: str | Path, tensors: Mapping[str, torch.Tensor | np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write a safetensors file atomically; equal content gives equal bytes.

    ``metadata`` values are stored as JSON text, beside a seal (:mod:`~speechprompt.storage.seals`).
    Tensors are laid out as the safetensors library does, but written one by one, because the
    library copies all of them twice and orders the metadata by a random hash. NumPy arrays are
    written without importing torch.
    """
    order = list(TENSOR_TYPES)
    types = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    if unknown := set(types.values()) - set(order):
        raise ValueError(f"{path}: tensors of {', '.join(sorted(unknown))} cannot be written")
    names = sorted(tensors, key=lambda name: (order.index(types[name]), name))
    described = {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
    header: dict[str, Any] = {"__metadata__": {**described, SEAL: UNSEALED}}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        kind = TENSOR_TYPES[types[name]]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as stream:
            stream.write(struct.pack("<Q", len(encoded)))
            stream.write(encoded)
            for name in names:
                stream.write(_tensor_bytes(tensors[name]))
        seal(temporary)


def _tensor_bytes(tensor: torch.Tensor | np.ndarray) -> memoryview:
    """The numbers of a tensor in row-major order, copied only if they are stored otherwise."""
    import numpy as np

    if not isinstance(tensor, np.ndarray):
        import torch

        tensor = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def read_tensors(
    path: str | Path,
    framework: Literal["pt", "numpy"] = "pt",
    names: Collection[str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a safetensors file: tensors and metadata.

    Args:
        path: The file.
        framework: ``pt`` for torch's tensors, ``numpy`` for arrays without importing torch.
        names: Tensors to read; None reads all.

    Raises:
        ArtefactError: the file is missing, damaged or not safetensors, or has no such tensor.
    """
    from safetensors import SafetensorError, safe_open

    try:
        is_sealed(path)
        with safe_open(path, framework=framework) as stream:
            wanted = stream.keys() if names is None else names
            tensors = {name: stream.get_tensor(name) for name in wanted}
            return tensors, _decode(stream.metadata() or {})
    except (OSError, SafetensorError, DamageError) as error:
        raise ArtefactError(f"{path}: not a readable safetensors file ({error})") from error


def read_tensor_metadata(path: str | Path) -> dict[str, Any]:
    """Read only the metadata of a safetensors file, without torch.

    Raises:
        ArtefactError: the file is missing or not safetensors.
    """
    return read_tensor_header(path)[1]


def read_tensor_header(
    path: str | Path, *, checked: bool = True
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Read the ``dtype`` and ``shape`` of every tensor by name, and the metadata.

    Args:
        path: The file.
        checked: Whether the whole file is checked by its seal first.

    Raises:
        ArtefactError: the file is missing, damaged or not safetensors.
    """
    try:
        if checked:
            is_sealed(path)
        size = Path(path).stat().st_size
        with open(path, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError(f"header of {length} bytes in a file of {size} bytes")
            header = json.loads(stream.read(length))
        return header, _decode(header.pop("__metadata__", {}))
    except (OSError, ValueError, AttributeError, struct.error) as error:
        raise ArtefactError(f"{path}: not a readable safetensors file ({error})") from error


def shapes_of(tensors: Mapping[str, torch.Tensor | np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check_shapes(origin: str | Path, what: str, *, expected: Shapes, found: Shapes) -> None:
    """Check that a file's tensors have the names and shapes of a model's.

    Args:
        origin: The file, for the message.
        what: The model that the file should hold, for the message.
        expected: Shape of every tensor of that model.
        found: Shape of every tensor of the file.

    Raises:
        ArtefactError: a tensor is missing, surplus or of another shape; the message names it.
    """
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "surplus": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{name} {found[name]} instead of {expected[name]}"
            for name in sorted(expected.keys() & found.keys())
            if found[name] != expected[name]
        ],
    }
    if not any(problems.values()):
        return
    n_expected, n_found = (sum(map(math.prod, shapes.values())) for shapes in (expected, found))
    listed = [f"{problem}: {some_of(names)}" for problem, names in problems.items() if names]
    raise ArtefactError(
        f"{origin}: expected the {n_expected:,} parameters of {what}, found {n_found:,}; "
        f"{'; '.join(listed)}"
    )


def _decode(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Decode JSON values, which this package writes, but the seal; keep other programs' text."""
    decoded: dict[str, Any] = {}
    for key, value in metadata.items():
        if key == SEAL:
            continue
        try:
            decoded[key] = json.loads(value)
        except (TypeError, ValueError):
            decoded[key] = value
    return decoded
