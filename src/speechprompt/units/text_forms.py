"""Units as text: the forms of lines that other programs write and read.

* GSLM: ``file|u1 u2 …``, or with labels ``file|u1 u2 …|l1 l2 …``;
* fairseq: ``u1 u2 … <s> l1 l2 …``;
* textlesslib: ``file<tab>u1 u2 …`` or only units, and durations in a second file, ``*.durations``;
* speech-resynthesis: a Python dict with ``audio`` and, by frame, ``hubert`` (or another name);
* slamkit: a JSON object with ``file_name`` and with ``units`` and ``duration``, or with the text of
  tokens ``<Un3><Un49>…`` as ``audio_repr``; or only this text.

The form is found line by line.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from speechprompt.errors import SpeechPromptError
from speechprompt.storage.files import text_lines
from speechprompt.units.symbols import LONGEST_UNIT, unit_of

__all__ = ["EXPECTED", "SEPARATOR_TOKEN", "UnitLine", "collapse", "durations_beside", "read_lines"]

SEPARATOR_TOKEN = "<s>"
EXPECTED = f"expected 'units {SEPARATOR_TOKEN} labels' or 'file|units|labels'"
# speech-resynthesis' names of its encoders, in the order in which it looks for them.
FRAME_KEYS = ("cpc_km100", "vqvae256", "hubert", "codes", "units")
NAME_KEYS = ("audio", "file_name", "name", "id")
OBJECT = re.compile(r"\{\s*['\"]")
TOKENS = re.compile(r"(?:<Un\d+>)+")
Error = type[SpeechPromptError]
# Reads the units of a line, or durations in their place.
Numbers = Callable[[Sequence[str]], list[int]]


@dataclass(slots=True)
class UnitLine:
    """The units of an utterance.

    Attributes:
        number: the line in its file, from 1.
        name: the recording; empty where the form has no names.
        units: the units, which are numbers.
        durations: the number of frames of each unit; None where the form does not tell.
        labels: what follows the units; None where the form has no place for it.
        fields: other texts and numbers of the line as text, by name.
        text: the beginning of the line, for messages.
    """

    number: int
    name: str
    units: list[int]
    durations: list[int] | None = None
    labels: tuple[str, ...] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


def read_lines(path: str | Path, n_units: int, error: Error) -> Iterator[UnitLine]:
    """Read the utterances of a file, in any of the forms.

    Args:
        path: the file.
        n_units: number of units of the codebook.
        error: class of the errors.

    Raises:
        SpeechPromptError: the file cannot be read, a line has none of the forms, a unit is not one
            of 0 … ``n_units - 1``, or durations do not belong to units; the error has the given
            class, and its message names the line.
    """
    beside = durations_beside(path)
    more = list(text_lines(beside, error)) if beside else []
    lines = list(text_lines(path, error))
    if beside and [number for number, _ in more] != [number for number, _ in lines]:
        raise error(f"{beside}: expected a line for each of the {len(lines)} in {path}")
    units_in = partial(_units, n_units=n_units)
    for row, (number, text) in enumerate(lines):
        where = f"{path}:{number}"
        try:
            line = _parse(number, text, units_in)
            if beside:
                said = _parse(number, more[row][1], _durations)
                if said.name != line.name:
                    raise ValueError(f"the durations in {beside} are of {said.name!r}")
                line.durations = said.units
            if line.durations is not None and (
                len(line.durations) != len(line.units) or min(line.durations, default=1) < 1
            ):
                raise ValueError(
                    f"expected {len(line.units)} durations of a frame and more, found "
                    f"{len(line.durations)} from {min(line.durations, default=0)}"
                )
        except (ValueError, TypeError) as reason:
            raise error(f"{where}: {reason}") from None
        yield line


def durations_beside(path: str | Path) -> Path | None:
    """The file with the durations of textlesslib's ``*.units``, where there is one."""
    beside = Path(path).with_suffix(".durations")
    return beside if Path(path).suffix == ".units" and beside.is_file() else None


def collapse(units: Sequence[int], durations: Sequence[int] | None) -> tuple[list[int], list[int]]:
    """Make repeated units one, whose duration is that of all; without durations each has one frame.

    Their durations sum to the number of frames.
    """
    found: list[int] = []
    frames: list[int] = []
    for unit, duration in zip(units, durations or [1] * len(units), strict=True):
        if found and found[-1] == unit:
            frames[-1] += duration
        else:
            found.append(unit)
            frames.append(duration)
    return found, frames


def _parse(number: int, text: str, numbers: Numbers) -> UnitLine:
    line = UnitLine(number, "", [], text=text[:60])
    if OBJECT.match(text):
        return _parse_object(line, text, numbers)
    if text.startswith("<Un") and "|" not in text:
        line.units = _tokens(text, numbers)
        return line
    words = text.split()
    if "|" in text:
        parts = text.split("|")
        if len(parts) not in (2, 3) or not parts[0].strip():
            raise ValueError(f"{EXPECTED}, found {line.text!r}")
        line.name, words = parts[0].strip(), parts[1].split()
        line.labels = tuple(parts[2].split()) if len(parts) == 3 else None
    elif SEPARATOR_TOKEN in words:
        if words.count(SEPARATOR_TOKEN) > 1:
            raise ValueError(f"{EXPECTED}, found {line.text!r}")
        at = words.index(SEPARATOR_TOKEN)
        words, line.labels = words[:at], tuple(words[at + 1 :])
    elif "\t" in text:
        line.name, _, rest = text.partition("\t")
        words = rest.split()
    elif not all(word.isdecimal() for word in words):
        raise ValueError(f"{EXPECTED}, found {line.text!r}")
    line.units = numbers(words)
    return line


def _parse_object(line: UnitLine, text: str, numbers: Numbers) -> UnitLine:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _literal(text)
    if not isinstance(found, dict):
        raise ValueError(f"{EXPECTED} or an object with units, found {line.text!r}")
    line.name = str(next((found[key] for key in NAME_KEYS if found.get(key)), ""))
    line.fields = {
        str(key): str(value)
        for key, value in found.items()
        if isinstance(value, str | int | float) and value == value  # NaN is none
    }
    if isinstance(found.get("units"), list):
        line.units = numbers([str(unit) for unit in found["units"]])
        if isinstance(duration := found.get("duration"), list):
            line.durations = _durations([str(frames) for frames in duration])
        return line
    if isinstance(tokens := found.get("audio_repr"), str):
        line.units = _tokens(tokens, numbers)
        return line
    key = next((key for key in FRAME_KEYS if isinstance(found.get(key), str)), None)
    if key is None:
        expected, keys = ", ".join(FRAME_KEYS), ", ".join(map(str, found)) or "none"
        raise ValueError(f"expected the key audio_repr, {expected}, found {keys[:60]}")
    line.units = numbers(found[key].split())
    line.durations = [1] * len(line.units)
    return line


def _literal(text: str) -> Any:
    """Read a literal of Python, without running anything."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(
            f"expected an object of JSON or a literal of Python, found {text[:60]!r}"
        ) from None


def _tokens(text: str, numbers: Numbers) -> list[int]:
    if not TOKENS.fullmatch(text):
        raise ValueError(f"expected tokens such as <Un3><Un49>, found {text[:60]!r}")
    return numbers(text[3:-1].split("><Un"))


def _units(words: Sequence[str], n_units: int) -> list[int]:
    if not words:
        raise ValueError("no units")
    units = []
    for word in words:
        unit = unit_of(word)
        if unit is None or unit >= n_units:
            raise ValueError(
                f"expected units 0 to {n_units - 1} of the dictionary, found {word[:60]!r}"
            )
        units.append(unit)
    return units


def _durations(words: Sequence[str]) -> list[int]:
    durations = []
    for word in words:
        frames = unit_of(word)
        if frames is None:
            raise ValueError(
                f"expected durations as numbers of frames below {10**LONGEST_UNIT:,}, "
                f"found {word[:60]!r}"
            )
        durations.append(frames)
    return durations
