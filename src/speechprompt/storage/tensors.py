"""Safetensors files: equal content gives equal bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from speechprompt.errors import ArtefactError
from speechprompt.storage.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = [
    "TENSOR_TYPES",
    "read_tensor_header",
    "read_tensor_metadata",
    "read_tensors",
    "write_tensors",
]

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

    ``metadata`` values are stored as JSON text. Tensors are laid out as the library does, but
    written one by one: it would copy them all twice, and order metadata by a random hash. NumPy's
    arrays are written without waiting for torch to be imported.
    """
    order = list(TENSOR_TYPES)
    types = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    if unknown := set(types.values()) - set(order):
        raise ValueError(f"{path}: tensors of {', '.join(sorted(unknown))} cannot be written")
    names = sorted(tensors, key=lambda name: (order.index(types[name]), name))
    header: dict[str, Any] = {
        "__metadata__": {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
    }
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        kind = TENSOR_TYPES[types[name]]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        stream.write(struct.pack("<Q", len(encoded)))
        stream.write(encoded)
        for name in names:
            stream.write(_tensor_bytes(tensors[name]))


def _tensor_bytes(tensor: torch.Tensor | np.ndarray) -> memoryview:
    """The numbers of a tensor, row by row, without a copy where they lie so on the CPU."""
    import numpy as np

    if isinstance(tensor, np.ndarray):
        return memoryview(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8))
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())


def read_tensors(
    path: str | Path, framework: Literal["pt", "numpy"] = "pt"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a safetensors file written by :func:`write_tensors`: tensors and metadata.

    Args:
        path: The file.
        framework: Torch's tensors, or NumPy's arrays without waiting for torch to be imported.

    Raises:
        ArtefactError: the file is missing or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework=framework) as stream:
            metadata = {key: json.loads(value) for key, value in (stream.metadata() or {}).items()}
            return {name: stream.get_tensor(name) for name in stream.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtefactError(f"{path}: not a readable safetensors file ({error})") from error


def read_tensor_metadata(path: str | Path) -> dict[str, Any]:
    """Read only the metadata of a file written by :func:`write_tensors`, without torch.

    Raises:
        ArtefactError: the file is missing or not safetensors.
    """
    return read_tensor_header(path)[1]


def read_tensor_header(path: str | Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Type (``dtype``) and ``shape`` of every tensor by name, and the metadata; no numbers.

    Raises:
        ArtefactError: the file is missing or not safetensors.
    """
    try:
        size = Path(path).stat().st_size
        with open(path, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError(f"its header would have {length} bytes, the file has {size}")
            header = json.loads(stream.read(length))
        values = header.pop("__metadata__", {})
        return header, {key: json.loads(value) for key, value in values.items()}
    except (OSError, ValueError, AttributeError, struct.error) as error:
        raise ArtefactError(f"{path}: not a readable safetensors file ({error})") from error
