"""The recordings that a user names: files, folders, lists of paths, and paths on standard input."""

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
# The usual endings of files that libsndfile decodes. A file that is named itself may have any.
ENDINGS = (
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".nist", ".oga", ".ogg", ".opus"),
    *(".rf64", ".snd", ".sph", ".w64", ".wav", ".wave"),
)


class AudioPaths:
    """The recordings that arguments name, in their order.

    Iterating gives paths, and an error in place of a folder that has no recordings.

    Args:
        arguments: files, folders (searched with all folders below, in the order of names), and
            ``-`` for paths on standard input, one per line.
        lists: files that list paths, one per line, relative to the working directory; ``-`` is
            standard input.
        stream: standard input.

    Raises:
        ConfigError: standard input is named twice.
        CorpusError: a list cannot be read.
    """

    def __init__(
        self,
        arguments: Iterable[str | Path],
        lists: Iterable[str | Path] = (),
        stream: TextIO | None = None,
    ) -> None:
        lines = _Lines(stream or sys.stdin)
        named: list[Iterable[str]] = [
            lines if str(name) == STANDARD_INPUT else [str(name)] for name in arguments
        ]
        for path in lists:
            listed = text_lines(path, CorpusError)
            named.append(lines if str(path) == STANDARD_INPUT else [line for _, line in listed])
        n_streams = sum(names is lines for names in named)
        if n_streams > 1:
            raise ConfigError(f"expected {STANDARD_INPUT!r} once, found it {n_streams} times")
        self._lines = lines if n_streams else None
        recordings = chain.from_iterable(map(recordings_at, chain.from_iterable(named)))
        self._items = recordings if n_streams else list(recordings)
        self.total = None if isinstance(self._items, chain) else len(self._items)

    def __iter__(self) -> Iterator[Path | AudioError]:
        return iter(self._items)

    def is_waiting(self) -> bool:
        """Whether standard input has no further line yet."""
        return self._lines is not None and self._lines.is_waiting()


def audio_in_folder(folder: Path) -> list[Path]:
    """Audio files in a folder and below it in the order of names, without hidden ones."""
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS:
                found.append(Path(parent, name))
    return found


def recordings_at(name: str | Path) -> list[Path | AudioError]:
    """A file itself, or the recordings in a folder; an error for a folder without any."""
    path = Path(name)
    if not path.is_dir():
        return [path]
    empty = AudioError(path, "no audio files in this folder")
    return [*audio_in_folder(path)] or [empty]


class _Lines:
    """Lines of a stream, each as soon as it is complete, without waiting for a full buffer."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._ready: list[bytes] = []
        try:
            self._number: int | None = stream.fileno()
        except (AttributeError, OSError):  # not a file of the operating system
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
                "standard input: expected a path a line, found binary data; name recordings "
                "as arguments"
            )
        text = os.fsdecode(line).strip()
        return [text] if text else []
