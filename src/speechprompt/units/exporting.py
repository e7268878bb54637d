"""Units of a split as text, in the forms of :mod:`~speechprompt.units.text_forms`."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from speechprompt.errors import ArtefactError, ConfigError, CorpusError
from speechprompt.storage.files import write_text
from speechprompt.units.text_forms import SEPARATOR_TOKEN
from speechprompt.units.unit_files import UNITS_COLUMNS, read_units

__all__ = ["export_units"]

Form = Literal["gslm", "fairseq", "textless", "resynthesis", "slamkit", "tokens"]
# Frames per second of HuBERT, for units that came ready and do not say it.
FRAME_RATE = 50.0
Row = Mapping[str, Any]


def export_units(
    units: str | Path, out: str | Path, *, form: str = "gslm", labels: Sequence[str] | None = None
) -> int:
    """Write the units of a split as text.

    Repeats that were removed are not written again, but for speech-resynthesis, which wants a unit
    for each frame.

    Args:
        units: the split's index.json.
        out: the text file. Durations of textlesslib's form are beside it, with the ending
            ``.durations``.
        form: gslm, fairseq, textless, resynthesis, slamkit, or tokens as slamkit prepares them.
        labels: label columns to write, in order; all by default.

    Returns:
        The number of utterances.

    Raises:
        ArtefactError: the units cannot be read, or have no durations where frames are wanted.
        ConfigError: there is no such form or column.
        CorpusError: a name or label has a mark that divides a line of this form.
    """
    if form not in get_args(Form):
        raise ConfigError(f"form: expected {', '.join(get_args(Form))}, found {form!r}")
    table = read_units(units)
    known = [name for name in table.column_names if name not in UNITS_COLUMNS]
    columns = known if labels is None else list(labels)
    if unknown := [name for name in columns if name not in (*known, "speaker")]:
        raise ConfigError(f"labels: expected {', '.join(known) or 'none'}, found {unknown[0]!r}")
    rate = float((table.schema.metadata or {}).get(b"frame_rate", FRAME_RATE))
    writers: dict[str, Callable[[Row], str]] = {
        "gslm": lambda row: f"{_plain(row['utt_id'], '|')}|{_joined(row['units'])}",
        "fairseq": lambda row: _fairseq(row, columns),
        "textless": lambda row: f"{_plain(row['utt_id'], chr(9))}\t{_joined(row['units'])}",
        "resynthesis": lambda row: _resynthesis(row, rate, str(units)),
        "slamkit": lambda row: _slamkit(row, columns, tokens=False),
        "tokens": lambda row: _slamkit(row, columns, tokens=True),
    }
    rows = table.to_pylist()
    text = "".join(f"{line}\n" for line in map(writers[form], rows))
    if form == "textless" and rows and all(row["durations"] is not None for row in rows):
        beside = Path(str(out).removesuffix(".units") + ".durations")
        durations = (f"{row['utt_id']}\t{_joined(row['durations'])}\n" for row in rows)
        write_text(beside, "".join(durations))
    write_text(out, text)
    return len(rows)


def _joined(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def _plain(text: str, mark: str) -> str:
    if mark in text or len(text.splitlines()) > 1:
        raise CorpusError(f"{text!r}: the mark {mark!r} cannot be written in this form")
    return text


def _fairseq(row: Row, columns: Sequence[str]) -> str:
    found = [row[name] or "" for name in columns]
    for name, label in zip(columns, found, strict=True):
        if len(label.split()) != 1:
            raise CorpusError(
                f"{row['utt_id']!r}: expected one word as {name!r} in fairseq's form, found "
                f"{label!r}; choose other labels or another form"
            )
    return " ".join([_joined(row["units"]), SEPARATOR_TOKEN, *found])


def _resynthesis(row: Row, rate: float, origin: str) -> str:
    """A dict of Python, whose units are by frame."""
    if row["durations"] is None:
        raise ArtefactError(
            f"{origin}: {row['utt_id']!r} has no durations, from which frames are made"
        )
    frames = np.repeat(row["units"], row["durations"]).tolist()
    name = row["path"] or row["utt_id"]
    return repr({"audio": name, "hubert": _joined(frames), "duration": len(frames) / rate})


def _slamkit(row: Row, columns: Sequence[str], *, tokens: bool) -> str:
    found: dict[str, Any] = {"file_name": row["path"] or row["utt_id"]}
    if tokens:
        found["audio_repr"] = "".join(f"<Un{unit}>" for unit in row["units"])
    else:
        found["units"] = row["units"]
        if row["durations"] is not None:
            found["duration"] = row["durations"]
    if taken := [name for name in columns if name in found]:
        raise CorpusError(
            f"{taken[0]!r}: a label of this name would take the place of what the form has by it; "
            "choose other labels"
        )
    return json.dumps(found | {name: row[name] for name in columns}, ensure_ascii=False)
