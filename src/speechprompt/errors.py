"""Errors that a user can act on; the command line prints their message without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ArtefactError",
    "AssetError",
    "ConfigError",
    "ConfigErrors",
    "CorpusError",
    "SpeechPromptError",
    "nearest",
    "some_of",
]


class SpeechPromptError(Exception):
    """Base class: the message names the file or key, what was expected and what was found."""


class ConfigError(SpeechPromptError):
    """A configuration key or command-line option is unknown, mistyped or impossible."""


class ConfigErrors(ConfigError):
    """Several wrong keys, with a line for each."""


class CorpusError(SpeechPromptError):
    """A corpus, its table or its recordings are not as described."""


class ArtefactError(SpeechPromptError):
    """A file of an earlier stage is missing, damaged, or does not belong to the others."""


class AssetError(SpeechPromptError):
    """A published file cannot be downloaded or unpacked, or is not the one expected."""


def some_of(names: Iterable[str], most: int = 8) -> str:
    """Names for a message: the first few, and how many more there are; ``none`` without any."""
    names = list(names)
    shown = ", ".join(names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def nearest(name: str, known: Iterable[str]) -> str:
    """End a message with the known name that a mistyped one is like; empty where none is."""
    found = get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
