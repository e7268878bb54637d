"""fairseq 0.12.2 on Python 3.11 and newer, where it does not import by itself (its issue 5012).

Nothing that the pipeline runs needs fairseq; parity tests, benchmarks and trusted checkpoints do.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["fairseq_installed", "import_fairseq", "importable_fairseq"]


def fairseq_installed() -> bool:
    """Whether fairseq and what its checkpoints need are installed."""
    return all(find_spec(name) is not None for name in ("fairseq", "omegaconf", "hydra"))


def import_fairseq(name: str = "fairseq") -> ModuleType:
    """Import fairseq or a module of it by its full name.

    Raises:
        ImportError: fairseq, or what it needs, is not installed.
    """
    with importable_fairseq():
        return import_module(name)


@contextmanager
def importable_fairseq() -> Iterator[None]:
    """While active, dataclasses of fairseq and hydra are hashable, so they may be defaults."""
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
