"""The recordings that a user names: files, folders, lists of paths, and paths on standard input."""

import codecs
import os
import select
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

from speechprompt.audio.reading import AudioError
from speechprompt.errors import ConfigError, CorpusError, some_of
from speechprompt.runtime.progress import log

__all__ = ["AudioPaths", "audio_in_folder", "recordings_at"]

STANDARD_INPUT = "-"
# The usual endings of files that libsndfile decodes. A file that is named itself may have any.
ENDINGS = (
    *(".8svx", ".aif", ".aifc", ".aiff", ".amb", ".au", ".avr", ".bwf", ".caf", ".flac", ".htk"),
    *(".iff", ".mp2", ".mp3", ".mpga", ".nist", ".oga", ".ogg", ".opus", ".paf", ".pvf", ".rf64"),
    *(
        ".sd2",
        ".sds",
        ".sf",
        ".snd",
        ".sph",
        ".svx",
        ".voc",
        ".w64",
        ".wav",
        ".wave",
        ".wve",
        ".xi",
    ),
)
# Endings of other recordings. An error stands in the place of each, lest it be missed.
UNREADABLE = (
    *(".3ga", ".3gp", ".aac", ".ac3", ".adts", ".aiffc", ".alac", ".amr", ".ape", ".awb", ".dsf"),
    *(".dss", ".dts", ".gsm", ".m4a", ".m4b", ".m4r", ".mka", ".mkv", ".mov", ".mp4", ".mpc"),
    *(
        ".pcm",
        ".ra",
        ".ram",
        ".raw",
        ".shn",
        ".spx",
        ".tta",
        ".vox",
        ".weba",
        ".webm",
        ".wma",
        ".wv",
    ),
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
            named.append(lines if str(path) == STANDARD_INPUT else _listed(path))
        n_streams = sum(names is lines for names in named)
        if n_streams > 1:
            raise ConfigError(f"expected {STANDARD_INPUT!r} once, found it {n_streams} times")
        if n_streams and (stream or sys.stdin) is None:
            raise ConfigError(f"{STANDARD_INPUT}: standard input is closed")
        self._lines = lines if n_streams else None
        recordings = chain.from_iterable(map(recordings_at, chain.from_iterable(named)))
        self._items = recordings if n_streams else list(recordings)
        self.total = None if isinstance(self._items, chain) else len(self._items)

    def __iter__(self) -> Iterator[Path | AudioError]:
        return iter(self._items)

    def is_waiting(self) -> bool:
        """Whether standard input has no further line yet."""
        return self._lines is not None and self._lines.is_waiting()


def audio_in_folder(folder: Path) -> list[Path | AudioError]:
    """Audio files in a folder and below it in the order of names, without hidden ones.

    A file or folder that several links lead to is there once. An error stands in the place of a
    folder that cannot be opened, and of a recording in a format that is not read. How many other
    files there are is logged.
    """
    found: list[Path | AudioError] = []
    passed: list[str] = []
    seen = {os.path.realpath(folder)}

    def is_new(path: str) -> bool:
        before = len(seen)
        seen.add(os.path.realpath(path))
        return len(seen) > before

    def closed(error: OSError) -> None:
        found.append(AudioError(error.filename, f"cannot be opened ({error.strerror})"))

    for parent, folders, names in os.walk(folder, onerror=closed, followlinks=True):
        shown = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in shown if is_new(os.path.join(parent, name))]
        for name in sorted(name for name in names if not name.startswith(".")):
            path, ending = Path(parent, name), os.path.splitext(name)[1].lower()
            if ending in UNREADABLE and is_new(str(path)):
                found.append(AudioError(path, f"{ending[1:]} is not read; convert it, as to FLAC"))
            elif ending in ENDINGS and is_new(str(path)):
                found.append(path)
            elif ending not in (*ENDINGS, *UNREADABLE):
                passed.append(os.path.relpath(path, folder))
    if passed:
        log(f"{folder}: passed over as no recordings: {some_of(passed)}")
    return found


def recordings_at(name: str | Path) -> list[Path | AudioError]:
    """A file itself, or the recordings in a folder; an error for a folder without any."""
    path = Path(name)
    if not os.path.isdir(path):  # Path.is_dir raises an error for a name that is too long
        return [path]
    empty = AudioError(path, "no audio files in this folder")
    return audio_in_folder(path) or [empty]


def _listed(path: str | Path) -> list[str]:
    """The lines of a list of paths, which need not be text."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from error
    lines = content.removeprefix(codecs.BOM_UTF8).splitlines()
    return [text for line in lines for text in _path_in(line, str(path))]


def _path_in(line: bytes, origin: str) -> list[str]:
    """The path in a line, or nothing."""
    if b"\0" in line:
        raise CorpusError(
            f"{origin}: expected a path a line, found binary data; name recordings as arguments"
        )
    text = os.fsdecode(line).strip()
    return [text] if text else []


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
            lines = (line.removeprefix("\ufeff").strip() for line in self._stream)
            yield from filter(None, lines)
            return
        rest, is_first = b"", True
        while chunk := os.read(self._number, 65536):
            *self._ready, rest = (rest + chunk).split(b"\n")
            while self._ready:
                line = self._ready.pop(0)
                yield from _path_in(
                    line.removeprefix(codecs.BOM_UTF8) if is_first else line, "standard input"
                )
                is_first = False
        yield from _path_in(
            rest.removeprefix(codecs.BOM_UTF8) if is_first else rest, "standard input"
        )

    def is_waiting(self) -> bool:
        if self._number is None or self._ready:
            return False
        return not select.select([self._number], [], [], 0)[0]
