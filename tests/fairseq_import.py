"""Make fairseq 0.12.2 importable on Python 3.11 (fairseq issue 5012)."""

import dataclasses
import functools
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importable_fairseq() -> Iterator[None]:
    """While active, dataclasses of fairseq and hydra are hashable, so they may be defaults."""
    original = dataclasses.dataclass

    def patched(cls=None, /, **options):
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
