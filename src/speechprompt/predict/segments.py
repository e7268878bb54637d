"""Segments as lines: JSON, Audacity's labels, RTTM or CTM, and as a table."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import chain, count
from pathlib import Path
from typing import Literal

from speechprompt.audio.places import Place
from speechprompt.predict.windows import Segment
from speechprompt.storage.text import printable

__all__ = ["SegmentFormat", "segment_writer"]

SegmentFormat = Literal["jsonl", "table", "audacity", "rttm", "ctm"]


def segment_writer(form: SegmentFormat, *, n_tasks: int = 1) -> Callable[[Segment], str]:
    """What writes a segment as a line.

    Args:
        form: the format. RTTM and CTM name the whole recording and have its times, also where the
            segment is in a part of it; times of the other formats count from the start of the part.
            The name is the file's without its ending, or its path where an earlier recording has
            this name. Blanks in names and labels are underscores there.
        n_tasks: number of tasks; with several, Audacity's labels begin with the task's name.
    """

    def audacity(segment: Segment) -> str:
        name = f"{segment.task}: {segment.label}" if n_tasks > 1 else segment.label
        return f"{segment.start:.6f}\t{segment.end:.6f}\t{printable(name)}"

    names = _Names()
    return {
        "jsonl": lambda segment: json.dumps(asdict(segment), ensure_ascii=False),
        "table": _row,
        "audacity": audacity,
        "rttm": lambda segment: _rttm(*names.whole(segment)),
        "ctm": lambda segment: _ctm(*names.whole(segment)),
    }[form]


class _Names:
    """One name for each recording, in the order in which they come."""

    def __init__(self) -> None:
        self._names: dict[Place, str] = {}
        self._taken: set[str] = set()

    def whole(self, segment: Segment) -> tuple[str, Segment]:
        """The name of the whole recording, and the segment with the times that it has there."""
        part = Place.at(segment.file)
        recording = replace(part, start=0.0, end=None)
        if recording not in self._names:
            self._names[recording] = self._new(recording)
            self._taken.add(self._names[recording])
        start, end = part.start + segment.start, part.start + segment.end
        return self._names[recording], replace(segment, start=start, end=end)

    def _new(self, recording: Place) -> str:
        """The shortest name that no earlier recording has."""
        names = (Path(recording.name).name, recording.name, str(recording))
        numbered = (f"{recording}-{number}" for number in count(2))
        words = map(_word, chain(names, numbered))
        return next(word for word in words if word not in self._taken)


def _row(segment: Segment) -> str:
    file, task, label = map(printable, (segment.file, segment.task, segment.label))
    times = f"{segment.start:8.2f}  {segment.end:8.2f}"
    return f"{times}  {segment.probability:6.4f}  {task}  {label}  {file}"


def _rttm(name: str, segment: Segment) -> str:
    """One line of Rich Transcription Time Marked, as of NIST's evaluations of 2009."""
    length = segment.end - segment.start
    return (
        f"SPEAKER {name} 1 {segment.start:.3f} {length:.3f} <NA> <NA> "
        f"{_word(segment.label)} {segment.probability:.4f} <NA>"
    )


def _ctm(name: str, segment: Segment) -> str:
    """One line of NIST's time-marked conversations."""
    length = segment.end - segment.start
    return (
        f"{name} 1 {segment.start:.3f} {length:.3f} "
        f"{_word(segment.label)} {segment.probability:.4f}"
    )


def _word(text: str) -> str:
    return "_".join(printable(text).split()) or "-"
