"""What a pickle may name, and what it gets instead of what it names.

Tensors and arrays are rebuilt from their bytes. Objects of fairseq, omegaconf, scikit-learn and the
like become :class:`StandIn`, a bag of their attributes, so that none of these libraries is imported
or even needed. Any other name is refused. NumPy's and torch's own rebuilding functions are not
called either: given a crafted state, NumPy's corrupt memory.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechprompt.errors import AssetError

__all__ = ["ArrayWrapper", "Dtype", "Restricted", "StandIn"]

PLAIN_DTYPE = re.compile(r"[<>|=]?(?:[iufc](?:1|2|4|8|16)|b1|[SU]\d{1,6})")
# torch's storage classes, which say the type of the numbers.
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# What pickle itself needs; calling these has no other effect than their value.
VALUES = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "list"): list,
    ("builtins", "dict"): dict,
    ("builtins", "tuple"): tuple,
    ("builtins", "complex"): complex,
    ("torch", "Size"): tuple,
}
# Where objects come from that become stand-ins: packages with all below them, and single names.
STAND_IN_PACKAGES = frozenset({"fairseq", "omegaconf", "hydra", "sklearn", "enum", "typing"})
STAND_IN_MODULES = ("numpy.random",)
STAND_IN_NAMES = frozenset(
    {
        *(("builtins", name) for name in ("bool", "bytes", "bytearray", "float", "int", "object")),
        *(("builtins", name) for name in ("str", "type", "getattr", "long", "unicode")),
        *(("collections", name) for name in ("Counter", "defaultdict", "deque")),
        *(("pathlib", name) for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath")),
        *(("torch", str(dtype).removeprefix("torch.")) for dtype in STORAGES.values()),
        ("argparse", "Namespace"),
        ("operator", "getitem"),
        ("torch", "device"),
    }
)
# Names of Python 2 and of NumPy 1, which pickles keep to be readable everywhere.
MOVED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class StandIn:
    """An object whose class is not imported: its attributes, and what it was called with.

    The type's ``__module__`` and ``__name__`` are those of the original.

    Attributes:
        arguments: What the pickle passes to the class or function, for instance an enum's value.
        items: Elements or pairs that the pickle puts into it.
    """

    # Apart from ``__dict__``, which holds the original's attributes and nothing else.
    __slots__ = ("__dict__", "arguments", "items")

    def __new__(cls, *arguments: Any, **named: Any) -> StandIn:
        """Keep the arguments; nothing else happens."""
        self = super().__new__(cls)
        self.arguments = (*arguments, *named.values())
        self.items = []
        return self

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Take over the attributes, of ``__slots__`` too."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.__dict__.update(part)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        """Keep an element."""
        self.items.append(value)

    def extend(self, values: Any) -> None:
        """Keep elements."""
        self.items.extend(values)

    add = append


class Dtype:
    """A NumPy type of plain numbers or text, by its code."""

    def __init__(self, code: str, align: Any = False, copy: Any = False) -> None:
        self.code, self.byteorder = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.byteorder = {"|": "="}.get(state[1], state[1])

    def resolve(self) -> np.dtype:
        """NumPy's own; a ValueError for types that may hold objects."""
        if not PLAIN_DTYPE.fullmatch(self.code):
            raise ValueError(f"arrays of type {self.code!r} are not read, only plain numbers")
        return np.dtype(self.code).newbyteorder(self.byteorder)


class _Array:
    """A NumPy array that the pickle holds in itself."""

    def __init__(self, *arguments: Any) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        flat = np.frombuffer(data, dtype.resolve())
        self.array = flat.reshape(shape, order="F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.array, dtype)


class ArrayWrapper(StandIn):
    """joblib's sign that an array's bytes follow."""


class Restricted:
    """What an unpickler may name; mixed into one of pickle's."""

    origin: str | Path

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of what a pickle names.

        Raises:
            AssetError: nothing that a published model needs.
        """
        module = MOVED.get(module, module)
        if module.startswith("numpy.core."):
            module = module.replace("core", "_core", 1)
        if (module, name) in VALUES:
            return VALUES[module, name]
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return STORAGES[name]
        if found := self._functions().get((module, name)):
            return found
        if (
            module.split(".")[0] in STAND_IN_PACKAGES
            or module.startswith(STAND_IN_MODULES)
            or (module, name) in STAND_IN_NAMES
        ):
            return self._stand_in(module, name)
        raise AssetError(
            f"{self.origin}: refused, because its pickle asks for {module}.{name}: no published "
            "model needs that, and it may run code. Check where the file is from; if it is your "
            "own, import it with --trust (trust: true), which lets it run whatever it holds"
        )

    def _functions(self) -> dict[tuple[str, str], Any]:
        """This module's functions in place of NumPy's and torch's; bound, so not to be changed."""
        wrapper = "numpy_pickle", "NumpyArrayWrapper"
        return {
            ("_codecs", "encode"): self._encode,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            ("numpy", "dtype"): Dtype,
            ("numpy", "ndarray"): StandIn,
            ("numpy._core.multiarray", "_reconstruct"): _Array,
            ("numpy._core.multiarray", "scalar"): self._scalar,
            (f"joblib.{wrapper[0]}", wrapper[1]): ArrayWrapper,
            (f"sklearn.externals.joblib.{wrapper[0]}", wrapper[1]): ArrayWrapper,
        }

    def _stand_in(self, module: str, name: str) -> type:
        """A class of this unpickler's own, so that a pickle that changes it changes no other."""
        classes = self.__dict__.setdefault("stand_ins", {})
        if (module, name) not in classes:
            classes[module, name] = type(name, (StandIn,), {"__module__": module})
        return classes[module, name]

    def _encode(self, text: str, encoding: str = "latin1") -> bytes:
        """Bytes, as protocol 2 writes them."""
        return text.encode("latin-1")

    def _scalar(self, dtype: Dtype, data: bytes) -> Any:
        return np.frombuffer(data, dtype.resolve(), count=1)[0]

    def _tensor(self, flat: Tensor, offset: int, size: tuple, stride: tuple, *rest: Any) -> Tensor:
        """View a storage; torch refuses what lies outside of it."""
        return flat.as_strided(size, stride, offset)

    def _parameter(self, data: Tensor, *rest: Any) -> Tensor:
        return data
