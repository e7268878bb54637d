"""Import of the library fairseq 0.12.2 on Python 3.11 and newer, where this fails (its issue 5012).

Only parity tests, benchmarks and trusted checkpoints need fairseq. The pipeline does not.
"""

import dataclasses
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["import_fairseq", "importable_fairseq"]


def import_fairseq(name: str = "fairseq") -> ModuleType:
    """Import fairseq or one of its modules by its full name.

    Raises:
        ImportError: fairseq, or a library that it needs, is not installed.
    """
    with importable_fairseq():
        return import_module(name)


@contextmanager
def importable_fairseq() -> Iterator[None]:
    """Make dataclasses of fairseq and hydra hashable, because others have them as defaults."""
    original = dataclasses.dataclass

    def patched(cls: type | None = None, /, **options: Any) -> Any:
        if cls is None:
            return functools.partial(patched, **options)
        if cls.__module__.split(".")[0] in ("fairseq", "hydra"):
            options.setdefault("unsafe_hash", True)
        return original(cls, **options)

    dataclasses.dataclass = patched
    try:
        yield
    finally:
        dataclasses.dataclass = original
