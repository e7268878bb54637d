"""Recordings as people name them: files, folders, lists of paths, paths on standard input."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

from speechprompt.audio.reading import AudioError
from speechprompt.errors import ConfigError, CorpusError
from speechprompt.storage.files import text_lines

__all__ = ["AudioPaths", "audio_in_folder", "recordings_at"]

STANDARD_INPUT = "-"
# What libsndfile decodes, by the usual endings; a file that is named outright may have any.
ENDINGS = (
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".nist", ".oga", ".ogg", ".opus"),
    *(".rf64", ".snd", ".sph", ".w64", ".wav", ".wave"),
)


class AudioPaths:
    """The recordings behind some arguments, in their order.

    Iterating gives paths, and in the place of what is no recording, such as a folder without any,
    the error that says so.

    Args:
        arguments: files, folders (searched with all below them, by name), and ``-`` for paths
            on standard input, one a line.
        lists: files that list paths, one a line, from the working directory; ``-`` as above.
        stream: standard input.

    Raises:
        ConfigError: standard input is asked for twice.
        CorpusError: a list cannot be read.
    """

    def __init__(
        self,
        arguments: Iterable[str | Path],
        lists: Iterable[str | Path] = (),
        stream: TextIO | None = None,
    ) -> None:
        arguments, lists = list(map(str, arguments)), list(map(str, lists))
        n_streams = (arguments + lists).count(STANDARD_INPUT)
        if n_streams > 1:
            raise ConfigError(f"expected {STANDARD_INPUT!r} once, found it {n_streams} times")
        self._lines = _Lines(stream or sys.stdin) if n_streams else None
        parts = [self._expand(argument) for argument in arguments]
        for path in lists:
            named = self._lines if path == STANDARD_INPUT else _listed(path)
            parts.append(chain.from_iterable(map(recordings_at, named)))
        self._items: Iterable[Path | AudioError] = chain.from_iterable(parts)
        self.total: int | None = None
        if not n_streams:
            self._items = list(self._items)
            self.total = len(self._items)

    def __iter__(self) -> Iterator[Path | AudioError]:
        return iter(self._items)

    def is_waiting(self) -> bool:
        """Whether the next path has still to be written by another program, or typed."""
        return self._lines is not None and self._lines.is_waiting()

    def _expand(self, argument: str) -> Iterable[Path | AudioError]:
        if argument == STANDARD_INPUT:
            return chain.from_iterable(map(recordings_at, self._lines))
        return recordings_at(argument)


def audio_in_folder(folder: Path) -> list[Path]:
    """Audio files in a folder and below, by name; hidden ones are passed over."""
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS:
                found.append(Path(parent, name))
    return found


def recordings_at(name: str | Path) -> list[Path | AudioError]:
    """A file itself, or what is in a folder; the error that says so where that is nothing."""
    path = Path(name)
    if not path.is_dir():
        return [path]
    empty = AudioError(path, "no audio files in this folder")
    return [*audio_in_folder(path)] or [empty]


def _listed(path: str) -> list[str]:
    return [line for _, line in text_lines(path, CorpusError)]


class _Lines:
    """Lines of a stream as they come: none is held back until a buffer is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._ready: list[bytes] = []
        try:
            self._number: int | None = stream.fileno()
        except (AttributeError, OSError):  # no file of the operating system
            self._number = None

    def __iter__(self) -> Iterator[str]:
        if self._number is None:
            yield from (line.strip() for line in self._stream if line.strip())
            return
        rest = b""
        while chunk := os.read(self._number, 65536):
            *self._ready, rest = (rest + chunk).split(b"\n")
            while self._ready:
                yield from self._text(self._ready.pop(0))
        yield from self._text(rest)

    def is_waiting(self) -> bool:
        if self._number is None or self._ready:
            return False
        return not select.select([self._number], [], [], 0)[0]

    def _text(self, line: bytes) -> list[str]:
        if b"\0" in line:
            raise CorpusError(
                "standard input: expected a path a line, found what is no text; recordings "
                "themselves are given as files"
            )
        text = os.fsdecode(line).strip()
        return [text] if text else []
