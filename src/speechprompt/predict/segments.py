"""Segments as lines: JSON, Audacity's labels, RTTM or CTM, and as a table."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from speechprompt.predict.windows import Segment
from speechprompt.storage.text import printable

__all__ = ["SegmentFormat", "segment_writer"]

SegmentFormat = Literal["jsonl", "table", "audacity", "rttm", "ctm"]


def segment_writer(form: SegmentFormat, *, n_tasks: int = 1) -> Callable[[Segment], str]:
    """What writes a segment as a line.

    Args:
        form: the format. The file of RTTM and CTM is the recording's name without its ending, or
            its path where another recording has this name, and blanks in names and labels are
            underscores there.
        n_tasks: number of tasks; with several, Audacity's labels begin with the task's name.
    """

    def audacity(segment: Segment) -> str:
        name = f"{segment.task}: {segment.label}" if n_tasks > 1 else segment.label
        return f"{segment.start:.6f}\t{segment.end:.6f}\t{printable(name)}"

    named: dict[str, str] = {}  # the first recording of a name

    def name_of(segment: Segment) -> str:
        path = Path(segment.file)
        is_first = named.setdefault(path.stem, segment.file) == segment.file
        return _word(path.stem if is_first else str(path.with_suffix("")))

    return {
        "jsonl": lambda segment: json.dumps(asdict(segment), ensure_ascii=False),
        "table": _row,
        "audacity": audacity,
        "rttm": lambda segment: _rttm(name_of(segment), segment),
        "ctm": lambda segment: _ctm(name_of(segment), segment),
    }[form]


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
