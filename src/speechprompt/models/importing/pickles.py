"""Reading checkpoints and scikit-learn models that were published as pickles, without running them.

A pickle is a program that may call whatever it names. Here it may name only what
:mod:`speechprompt.models.importing.placeholders` allows. No other module of the package unpickles.
"""

import bz2
import io
import lzma
import math
import mmap
import pickle
import reprlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from speechprompt.errors import ArtefactError, AssetError, some_of
from speechprompt.models.importing.limits import LimitError
from speechprompt.models.importing.placeholders import ArrayWrapper, RestrictedNames
from speechprompt.storage.files import content_of
from speechprompt.storage.hashes import sha256_file

__all__ = ["identify", "load_checkpoint", "load_joblib", "named_tensors", "published"]

# No pickled k-means model is nearly as large. A checkpoint has its numbers outside of its pickle.
MAX_UNPACKED = 2**28
# "little" or "big".
LONGEST_BYTE_ORDER = 6
# The longest side of an array; products of more could take any time.
LONGEST_SIDE = 2**40
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
ZIP_HEADER = struct.Struct("<26xHH")


def identify(path: str | Path, sha256: str | None = None) -> dict[str, str]:
    """Name and SHA-256 of a file, for metadata; an importer calls it before it parses the file.

    Args:
        path: The file.
        sha256: The sum that the file must have; None accepts any.

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


def published(path: str | Path) -> AbstractContextManager[None]:
    """A context in which any error in what a model of somebody else's holds names its file."""
    return content_of(path, "that of a published model", "check where the file is from")


def named_tensors(state: Any, origin: str) -> dict[str, Tensor]:
    """Check that a loaded value is a state dict: names and tensors.

    Raises:
        ArtefactError: the value is no state dict.
    """
    if not isinstance(state, Mapping):
        raise ArtefactError(f"{origin}: expected named weights, found {type(state).__name__}")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ArtefactError(
                f"{origin}: expected named weights, found {type(tensor).__name__} as "
                f"{reprlib.repr(name)}"
            )
    return dict(state)


def load_checkpoint(path: str | Path, *, trust: bool = False) -> Any:
    """Read a file of ``torch.save``, in the zip format or in the format before torch 1.6.

    Args:
        path: The checkpoint.
        trust: Run all code that the file asks for; only for your own files.

    Returns:
        The saved value. Its tensors are on the CPU; those of the zip format are pages of the file
        until they are changed. Its objects are :class:`~.placeholders.Placeholder`, unless the file
        is trusted.

    Raises:
        AssetError: the file is damaged, or names something that checkpoints do not need.
    """
    with _errors_of(path, "a checkpoint of torch.save"):
        if trust:
            from speechprompt.models.importing.fairseq_library import importable_fairseq

            with importable_fairseq():
                return torch.load(path, map_location="cpu", weights_only=False)
        with open(path, "rb") as file:
            is_zip = file.read(2) == b"PK"
            file.seek(0)
            return (_load_zip if is_zip else _load_legacy)(path, file)


def load_joblib(path: str | Path, *, trust: bool = False) -> Any:
    """Read a file of ``joblib.dump`` (0.10 or newer), compressed or not.

    Args:
        path: The file.
        trust: Run all code that the file asks for; only for your own files.

    Returns:
        The dumped value. Its objects are :class:`~.placeholders.Placeholder`, unless the file is
        trusted.

    Raises:
        AssetError: the file is damaged, or names something that scikit-learn's models do not need.
    """
    with _errors_of(path, "a file of joblib.dump"):
        if trust:
            import joblib

            return joblib.load(path)
        return _JoblibUnpickler(path, io.BytesIO(_decompress(Path(path).read_bytes()))).load()


@contextmanager
def _errors_of(path: str | Path, what: str) -> Iterator[None]:
    """Name the file in every error, because bytes of unknown origin raise errors of any class."""
    try:
        yield
    except AssetError:
        raise
    except Exception as error:
        raise AssetError(
            f"{path}: cannot be read as {what} ({type(error).__name__}: {error}); "
            "it may be damaged or incomplete"
        ) from error


# Both formats are read by the unpickler in Python. A pickle can make the compiled one reserve any
# amount of memory, and that one reads beyond the arrays of joblib.
class _Unpickler(RestrictedNames, pickle._Unpickler):
    """Python's unpickler with the restrictions and limits of both other modules."""

    dispatch: ClassVar[dict[int, Any]] = pickle._Unpickler.dispatch | RestrictedNames.dispatch

    def __init__(self, origin: str | Path, file: Any, encoding: str = "ASCII") -> None:
        super().__init__(self.limit(file), encoding=encoding)
        self.origin = origin


class _TorchUnpickler(_Unpickler):
    """One pickle of a checkpoint.

    Args:
        origin: The file, for messages.
        file: The file at the beginning of the pickle.
        storage: Returns the n numbers of a storage by its key, type and n.
    """

    def __init__(
        self,
        origin: str | Path,
        file: io.BufferedIOBase,
        storage: Callable[[str, torch.dtype, int], Tensor] | None = None,
    ) -> None:
        super().__init__(origin, file, encoding="utf-8")
        self.storage = storage

    def persistent_load(self, saved: Any) -> Tensor:
        """Return a storage, which torch saves outside of the pickle."""
        kind, dtype, key, _, count, *view = saved
        is_plain = isinstance(dtype, torch.dtype) and isinstance(key, str)
        if kind != "storage" or not is_plain or any(view) or not self.storage:
            raise ValueError("a storage of a kind that torch.save does not write today")
        if not isinstance(count, int) or not 0 <= count <= LONGEST_SIDE:
            raise ValueError("a storage without a count of its numbers")
        return self.storage(key, dtype, count)


def _load_zip(path: str | Path, file: io.BufferedReader) -> Any:
    """Read the format since torch 1.6: a zip archive with a pickle and a record per storage."""
    archive = zipfile.ZipFile(file)
    records = {name.partition("/")[2]: entry for name, entry in archive.NameToInfo.items()}
    if "constants.pkl" in records or "data.pkl" not in records:
        raise AssetError(
            f"{path}: expected a checkpoint of torch.save, found an archive of "
            f"{some_of(sorted(records), 5)}"
        )
    order = records.get("byteorder")
    if order and (order.file_size > LONGEST_BYTE_ORDER or archive.read(order) != b"little"):
        raise AssetError(f"{path}: expected little-endian numbers; save it again on such a machine")
    # Pages of the file need no memory of their own, and changes of a tensor are not written back.
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    @cache  # a storage may have several tensors, and its record is checked once
    def start_of(key: str) -> int:
        return _check_record(pages, records[f"data/{key}"])

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        start, entry = start_of(key), records[f"data/{key}"]
        if (size := count * dtype.itemsize) > entry.file_size:
            raise ValueError(f"{entry.filename}: expected {size} bytes, found {entry.file_size}")
        if not count:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(pages, dtype=dtype, count=count, offset=start)

    if (size := records["data.pkl"].file_size) > MAX_UNPACKED:
        raise LimitError(f"its pickle of {size} bytes is over {MAX_UNPACKED} bytes")
    with archive.open(records["data.pkl"]) as stream:
        return _TorchUnpickler(path, io.BytesIO(stream.read(MAX_UNPACKED)), storage).load()


def _check_record(pages: mmap.mmap, entry: zipfile.ZipInfo) -> int:
    """Check a record of the archive against its sum; return where it starts."""
    n_name, n_extra = ZIP_HEADER.unpack_from(pages, entry.header_offset)
    start = entry.header_offset + ZIP_HEADER.size + n_name + n_extra
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename}: expected it as it is, found it compressed")
    with memoryview(pages) as view, view[start : start + entry.file_size] as record:
        if len(record) != entry.file_size or zlib.crc32(record) != entry.CRC:
            raise ValueError(f"{entry.filename}: its checksum is wrong")
    return start


def _load_legacy(path: str | Path, file: io.BufferedReader) -> Any:
    """Read the format before torch 1.6: several pickles, then the storages."""
    limit = Path(path).stat().st_size
    storages: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        if key not in storages:
            together = sum(one.nbytes for one in storages.values()) + count * dtype.itemsize
            if together > limit:
                raise ValueError(f"storages of {together} bytes in a file of {limit} bytes")
            storages[key] = torch.zeros(count, dtype=dtype)
        return storages[key]

    if _TorchUnpickler(path, file).load() != LEGACY_MAGIC:
        raise ValueError("neither a zip archive nor torch's magic number")
    if _TorchUnpickler(path, file).load() != LEGACY_PROTOCOL:
        raise ValueError("unknown version of the format")
    if not _TorchUnpickler(path, file).load()["little_endian"]:
        raise ValueError("expected little-endian numbers")
    result = _TorchUnpickler(path, file, storage).load()
    for key in _TorchUnpickler(path, file).load():
        target = storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        content = target.view(torch.uint8).numpy() if count else np.empty(0, np.uint8)
        if count != len(target) or file.readinto(content.data) != len(content):
            raise ValueError(f"storage {key} is incomplete")
    return result


class _JoblibUnpickler(_Unpickler):
    """A pickle that contains the bytes of its arrays, as ``joblib.numpy_pickle`` writes them."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Unpickler.dispatch)

    def __init__(self, origin: str | Path, file: io.BytesIO) -> None:
        super().__init__(origin, file)
        self.file = file

    def load_build(self) -> None:
        """Set an object's state; an announcement of an array is replaced by the array."""
        super().load_build()
        if isinstance(self.stack[-1], ArrayWrapper):
            self.stack[-1] = self._read_array(vars(self.stack[-1]))

    dispatch[pickle.BUILD[0]] = load_build

    def _read_array(self, about: Mapping[str, Any]) -> np.ndarray:
        if about.get("numpy_array_alignment_bytes") is not None:
            (padding,) = self.file.read(1)
            self.file.read(padding)
        plain = about["dtype"].resolve()
        if not all(type(side) is int and 0 <= side <= LONGEST_SIDE for side in about["shape"]):
            raise ValueError("an array whose shape is not one of numbers")
        size = math.prod(about["shape"]) * plain.itemsize
        data = self.file.read(size)
        if len(data) != size:
            raise EOFError(f"an array of {size} bytes ends after {len(data)}")
        order: Any = "F" if about["order"] == "F" else "C"
        return np.frombuffer(data, plain).reshape(about["shape"], order=order)


def _decompress(data: bytes) -> bytes:
    """Undo joblib's compression, which the first bytes tell."""
    openers: dict[bytes, Callable[[], Any]] = {
        b"\x78": zlib.decompressobj,
        b"\x1f\x8b": lambda: zlib.decompressobj(zlib.MAX_WBITS + 16),
        b"BZ": bz2.BZ2Decompressor,
        b"\x5d\x00": lzma.LZMADecompressor,
        b"\xfd7zXZ": lzma.LZMADecompressor,
    }
    for prefix, opener in openers.items():
        if data.startswith(prefix):
            stream = opener()
            content = stream.decompress(data, MAX_UNPACKED)
            if not stream.eof:
                raise EOFError(f"its compressed data end early or hold over {MAX_UNPACKED} bytes")
            return content
    return data
