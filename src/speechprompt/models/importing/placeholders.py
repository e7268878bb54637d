"""The names that a pickle may use, and the placeholders that it gets in their place.

Tensors and arrays are rebuilt from their bytes. Objects of libraries such as fairseq, omegaconf and
scikit-learn become a :class:`Placeholder` with their attributes, so that the libraries are neither
imported nor needed. Any other name is refused. The functions with which NumPy and torch rebuild
arrays are not called either, because a crafted state makes NumPy's corrupt memory.
"""

import re
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from speechprompt.errors import AssetError
from speechprompt.models.importing.limits import BoundedWork, LimitError

__all__ = ["ArrayWrapper", "Dtype", "Placeholder", "RestrictedNames"]

PLAIN_DTYPE = re.compile(r"[<>|=]?(?:[iufc](?:1|2|4|8|16)|b1|[SU]\d{1,6})")
# torch's storage classes, which state the type of the numbers.
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
# No model has nearly as many classes.
MAX_PLACEHOLDERS = 1000
# Objects from here become placeholders: whole packages, whole modules, and single names.
PLACEHOLDER_PACKAGES = frozenset({"fairseq", "omegaconf", "hydra", "sklearn", "enum", "typing"})
PLACEHOLDER_MODULES = ("numpy.random",)
PLACEHOLDER_NAMES = frozenset(
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
# Modules of Python 2, whose names pickles use to be readable everywhere.
MOVED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Placeholder:
    """An object whose class is not imported; it only stores what the pickle contains.

    The type's ``__module__`` and ``__name__`` are those of the original.

    Attributes:
        arguments: Arguments that the pickle passes to the class or function, such as the value of
            an enum.
        items: Elements or pairs that the pickle adds to it.
    """

    # ``__dict__`` holds the original's attributes and nothing else.
    __slots__ = ("__dict__", "arguments", "items")
    arguments: tuple[Any, ...]
    items: list[Any]

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Store the arguments."""
        self = super().__new__(cls)
        self.arguments = (*arguments, *named.values())
        self.items = []
        return self

    def __setstate__(self, state: Any) -> None:
        """Store the attributes, also those of ``__slots__``."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.__dict__.update(part)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        """Store an element."""
        self.items.append(value)

    add = append


class Dtype:
    """A NumPy type of plain numbers or text, by its code."""

    def __init__(self, code: str, align: Any = False, copy: Any = False) -> None:
        self.code, self.byteorder = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.byteorder = {"|": "="}.get(state[1], state[1])

    def resolve(self) -> np.dtype:
        """Return NumPy's type, or raise a ValueError for types that may hold objects."""
        if not PLAIN_DTYPE.fullmatch(self.code):
            raise ValueError(f"arrays of type {self.code!r} are not read, only plain numbers")
        order: Any = self.byteorder
        return np.dtype(self.code).newbyteorder(order)


class _Array:
    """A NumPy array whose bytes are in the pickle."""

    def __init__(self, *arguments: Any) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        flat = np.frombuffer(data, dtype.resolve())
        self.array = flat.reshape(shape, order="F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.array, dtype)


class ArrayWrapper(Placeholder):
    """joblib's announcement that the bytes of an array follow."""


class RestrictedNames(BoundedWork):
    """The names that an unpickler may use; a mixin for one of pickle's unpicklers."""

    origin: str | Path
    objects: ClassVar[tuple[type, ...]] = (Placeholder, Dtype, _Array)

    def find_class(self, module: str, name: str) -> Any:
        """Return the object for a name of a pickle.

        Raises:
            AssetError: published models do not need the name.
        """
        module = MOVED.get(module, module)
        if module.startswith("numpy.core."):
            module = module.replace("core", "_core", 1)
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return STORAGES[name]
        if found := self._functions().get((module, name)):
            return found
        if (
            module.split(".")[0] in PLACEHOLDER_PACKAGES
            or module.startswith(PLACEHOLDER_MODULES)
            or (module, name) in PLACEHOLDER_NAMES
        ):
            return self._placeholder(module, name)
        asked = f"{module}.{name}"[:200]
        raise AssetError(
            f"{self.origin}: refused, because its pickle asks for {asked}: no published "
            "model needs that, and it may run code. Check where the file is from; if it is your "
            "own, import it with --trust (trust: true), which lets it run whatever it holds"
        )

    def _functions(self) -> dict[tuple[str, str], Any]:
        """Replacements of types, and of NumPy's and torch's functions.

        They are bound methods, to which a pickle cannot add attributes.
        """
        wrapper = "numpy_pickle", "NumpyArrayWrapper"
        return {
            ("builtins", "list"): self.make_list,
            ("builtins", "tuple"): self.make_tuple,
            ("builtins", "set"): self.make_set,
            ("builtins", "frozenset"): self.make_frozenset,
            ("builtins", "dict"): self.make_dict,
            ("builtins", "complex"): complex,
            ("collections", "OrderedDict"): self.make_ordered,
            ("torch", "Size"): self.make_tuple,
            ("_codecs", "encode"): self._encode,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            ("numpy", "dtype"): Dtype,
            ("numpy", "ndarray"): Placeholder,
            ("numpy._core.multiarray", "_reconstruct"): _Array,
            ("numpy._core.multiarray", "scalar"): self._scalar,
            (f"joblib.{wrapper[0]}", wrapper[1]): ArrayWrapper,
            (f"sklearn.externals.joblib.{wrapper[0]}", wrapper[1]): ArrayWrapper,
        }

    def _placeholder(self, module: str, name: str) -> type:
        """Make a class for this unpickler only, so that no other pickle can change it."""
        classes = self.__dict__.setdefault("placeholders", {})
        if (module, name) not in classes:
            if len(classes) >= MAX_PLACEHOLDERS:
                raise LimitError(f"its pickle names more than {MAX_PLACEHOLDERS} classes")
            classes[module, name] = type(name, (Placeholder,), {"__module__": module})
        return classes[module, name]

    def _encode(self, text: str, encoding: str = "latin1") -> bytes:
        """Return bytes, which protocol 2 writes as text."""
        self.pay(len(text))
        return text.encode("latin-1")

    def _scalar(self, dtype: Dtype, data: bytes) -> Any:
        return np.frombuffer(data, dtype.resolve(), count=1)[0]

    def _tensor(self, flat: Tensor, offset: int, size: tuple, stride: tuple, *rest: Any) -> Tensor:
        """View a storage; torch refuses a view that leaves it."""
        view = flat.as_strided(size, stride, offset)
        if view.numel() > flat.numel():
            raise ValueError("a tensor of more numbers than are stored for it")
        return view

    def _parameter(self, data: Tensor, *rest: Any) -> Tensor:
        return data
