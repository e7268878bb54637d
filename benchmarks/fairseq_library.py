"""Import of fairseq, whose layers and readers others are compared with."""

from importlib import import_module
from types import ModuleType

from speechprompt.models.importing.fairseq_library import importable_fairseq

__all__ = ["import_fairseq"]


def import_fairseq(name: str = "fairseq") -> ModuleType:
    """Import fairseq or one of its modules by its full name.

    Raises:
        ImportError: fairseq, or a library that it needs, is not installed.
    """
    with importable_fairseq():
        return import_module(name)
