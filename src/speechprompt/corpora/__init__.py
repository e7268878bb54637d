"""Corpora: where recordings come from, and their manifests.

Adding a corpus takes one module and one line of :data:`KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from speechprompt.errors import ConfigError

__all__ = ["KINDS", "CorpusKind", "load_acquire", "load_prepare"]


@dataclass(frozen=True, slots=True)
class CorpusKind:
    """Where the functions of one kind are; nothing is imported before it is asked for.

    Attributes:
        prepare: ``module:function`` that writes manifests (for ``units``: the units of a split).
        acquire: ``module:function`` that makes or downloads the recordings, if there is one.
    """

    prepare: str
    acquire: str | None = None


KINDS = {
    "synthetic": CorpusKind("synthetic:prepare_synthetic", "synthetic:synthesise_keywords"),
    "csv": CorpusKind("table:prepare_table"),
    "fsdd": CorpusKind("fsdd:prepare_fsdd", "fsdd:download_fsdd"),
    "units": CorpusKind("units:prepare_units"),
}


def load_prepare(kind: str) -> Callable[..., Any]:
    """Import the function that prepares a kind of corpus.

    Raises:
        ConfigError: no such kind.
    """
    return _load(_find(kind).prepare)


def load_acquire(kind: str) -> Callable[..., Any]:
    """Import the function that makes or downloads a kind of corpus.

    Raises:
        ConfigError: no such kind, or its recordings are the user's own.
    """
    if (function := _find(kind).acquire) is None:
        raise ConfigError(f"corpus kind {kind!r}: its files are given, not made or downloaded")
    return _load(function)


def _find(kind: str) -> CorpusKind:
    if kind not in KINDS:
        raise ConfigError(f"corpus kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    return KINDS[kind]


def _load(function: str) -> Callable[..., Any]:
    module, name = function.split(":")
    return getattr(import_module(f"speechprompt.corpora.{module}"), name)
