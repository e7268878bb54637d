"""Where the samples of an utterance are: a file, a part of it, or a cell of a Parquet file.

Such a place is written as a path. A part has a fragment behind it, as an address on the web has:
``talk.flac#t=12.5,14.25`` are seconds 12.5 to 14.25 of a recording, ``call.wav#t=3,7&channel=1``
are those of its second channel, and ``train.parquet#column=audio&row=17`` is a recording inside a
Parquet file. A file whose own name looks like this is read as a whole.
"""

import os
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote

__all__ = ["Place"]

_NUMBER = r"\d+(?:\.\d+)?"
_PART = re.compile(
    rf"(?P<file>.+)#(?=.)"
    rf"(?:t=(?P<start>{_NUMBER})?(?:,(?P<end>{_NUMBER}))?)?"
    r"(?:(?:(?<=#)|&)channel=(?P<channel>\d{1,4}))?"
    r"(?:(?:(?<=#)|&)column=(?P<column>[^&#/]+)&row=(?P<row>\d{1,15}))?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where samples are.

    Attributes:
        file: path of the file.
        start: where they begin, in seconds.
        end: where they end, in seconds; None is the end of the recording.
        channel: the channel, from 0; None averages all.
        column: the column of a Parquet file that holds recordings.
        row: the row of that file, from 0; None is any other file.
    """

    file: str
    start: float = 0.0
    end: float | None = None
    channel: int | None = None
    column: str | None = None
    row: int | None = None

    @classmethod
    def at(cls, path: str | Path) -> Self:
        """The place that a path names."""
        text = os.fspath(path)
        match = _PART.fullmatch(text)
        if match is None or os.path.lexists(text):
            return cls(text)
        found = match.groupdict()
        return cls(
            found["file"],
            float(found["start"] or 0),
            None if found["end"] is None else float(found["end"]),
            None if found["channel"] is None else int(found["channel"]),
            None if found["column"] is None else unquote(found["column"]),
            None if found["row"] is None else int(found["row"]),
        )

    @property
    def fragment(self) -> str:
        """What is behind the path of the file; nothing for a whole file."""
        parts = []
        if self.is_cut:
            end = "" if self.end is None else f",{_decimal(self.end)}"
            parts.append(f"t={_decimal(self.start)}{end}")
        if self.channel is not None:
            parts.append(f"channel={self.channel}")
        if self.row is not None:
            parts.append(f"column={quote(self.column or '', safe='')}&row={self.row}")
        return f"#{'&'.join(parts)}" if parts else ""

    @property
    def is_cut(self) -> bool:
        """Whether this is a part of a recording."""
        return self.start > 0 or self.end is not None

    @property
    def name(self) -> str:
        """A name for the samples: the path without its ending, and times in milliseconds."""
        name = os.path.splitext(self.file)[0]
        if self.row is not None:
            name += f"-{self.row:06d}"
        if self.channel is not None:
            name += f"-{self.channel}"
        if self.is_cut:
            end = "end" if self.end is None else f"{1000 * self.end:07.0f}"
            name += f"-{1000 * self.start:07.0f}-{end}"
        return name

    def __str__(self) -> str:
        return self.file + self.fragment


def _decimal(seconds: float) -> str:
    """A number that reads back as the same, without an exponent."""
    return f"{Decimal(repr(seconds)):f}".removesuffix(".0")
