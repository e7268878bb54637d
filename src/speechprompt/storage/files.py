"""Files between the stages: written atomically, hashed, byte-reproducible."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from speechprompt.errors import ArtefactError, SpeechPromptError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch

__all__ = [
    "atomic_path",
    "copy_file",
    "read_json",
    "read_tensor_header",
    "read_tensor_metadata",
    "read_tensors",
    "sha256_file",
    "write_json",
    "write_parquet",
    "write_tensors",
    "write_text",
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


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``: renamed into place on success, deleted on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def copy_file(source: str | Path, out: str | Path) -> None:
    """Copy a file; a copy that was broken off leaves nothing."""
    with atomic_path(out) as temporary:
        shutil.copyfile(source, temporary)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def text_lines(path: str | Path, error: type[SpeechPromptError]) -> Iterator[tuple[int, str]]:
    """Numbers, from 1, and stripped text of the lines that are not blank.

    Raises:
        SpeechPromptError: the given class, where the file cannot be read as UTF-8 text.
    """
    try:
        with Path(path).open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if text := line.strip():
                    yield number, text
    except (OSError, UnicodeDecodeError) as reason:
        raise error(f"{path}: cannot be read as UTF-8 text ({reason})") from reason


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, keys in the order given, indented."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtefactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: cannot be read as JSON ({error})") from error


def write_parquet(path: str | Path, table: pa.Table) -> None:
    """Write an Arrow table atomically as zstd-compressed Parquet."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


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
