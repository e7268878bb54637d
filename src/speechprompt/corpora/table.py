"""The user's own corpus: a table of paths, splits and labels."""

import codecs
import csv
import math
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from speechprompt.audio.places import Place
from speechprompt.config.corpora import CsvCorpus
from speechprompt.corpora.manifest import RESERVED_COLUMNS, SPLITS, Listing, Recording
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import log
from speechprompt.storage.files import atomic_path, why_unreadable

__all__ = [
    "check_filled",
    "label_columns_of",
    "list_recordings",
    "listing_files",
    "read_label_columns",
    "read_recordings",
    "read_table",
    "read_times",
    "recording_files",
    "require_cells",
    "spelling_on_disk",
    "write_table",
]

# Columns that are no labels.
COLUMNS = ("path", "split", "speaker", "start", "end")


def list_recordings(corpus: CsvCorpus, root: Path, seed: int) -> Listing:
    """List the recordings of a table, whose paths are relative to the table's folder.

    The table has the columns ``path``, ``split``, optionally ``speaker``, ``start`` and ``end``,
    and then the labels; an unlabelled corpus has none. ``start`` and ``end`` are seconds: they say
    which part of a recording an utterance is, where one recording has many. Commas, semicolons or
    tabs separate the cells: whichever the header has most of. Quotation marks enclose cells, except
    where tabs separate them; there they belong to the text. The text is UTF-8 or, with a byte order
    mark, UTF-16.
    """
    table = root / Path(corpus.table).name
    recordings, labels = read_recordings(table)
    recordings = [replace(item, path=spelling_on_disk(root, item.path)) for item in recordings]
    for name in labels:
        if empty := sum(not item.labels[name] for item in recordings):
            log(f"{table}: column {name!r} is empty in {empty} of {len(recordings)} rows")
    return Listing(recordings, labels, corpus.valid_fraction)


def listing_files(corpus: CsvCorpus) -> list[str]:
    """The table."""
    return [corpus.table]


def recording_files(corpus: CsvCorpus) -> list[str]:
    """The recordings, relative to the table's folder."""
    recordings, _ = read_recordings(corpus.table)
    return list(dict.fromkeys(Place.at(recording.path).file for recording in recordings))


def label_columns_of(corpus: CsvCorpus) -> list[str]:
    """The columns that a task can predict: the labels and, if the table has it, the speaker."""
    return read_label_columns(corpus.table)


def read_recordings(
    table: str | Path, label_columns: Sequence[str] | None = None
) -> tuple[list[Recording], list[str]]:
    """Read a table's recordings and the names of its labels.

    Args:
        table: the CSV or TSV file.
        label_columns: the labels, which every row must have; by default all other columns, whose
            cells may be empty.

    Raises:
        CorpusError: a column is missing, repeated or has a name that a stage writes itself, a
            split is unknown, a path or a wanted label is empty, times are wrong, an utterance is
            listed twice, or there are no rows.
    """
    table = Path(table)
    header, rows = read_table(table, ["path", "split", *(label_columns or ())])
    labels = _check_labels(table, header, label_columns)
    recordings: list[Recording] = []
    lines: dict[str, int] = {}
    filled = ("path", *(label_columns or ()))
    for line, row in rows:
        where, split = f"{table}, line {line}", row["split"]
        start, end = read_times(row.get("start"), row.get("end"), where)
        path = row["path"] + Place("", start, end).fragment
        if split not in SPLITS:
            raise CorpusError(f"{where}: expected split train, valid or test, found {split!r}")
        require_cells(row, filled, where)
        if path in lines:
            raise CorpusError(f"{where}: {path} is listed before, in line {lines[path]}")
        lines[path] = line
        values = {name: row[name] for name in labels}
        recordings.append(Recording(path, split, values, row.get("speaker") or None))
    if not recordings:
        raise CorpusError(f"{table}: no rows below the header")
    return recordings, labels


def read_times(start: str | None, end: str | None, where: str) -> tuple[float, float | None]:
    """Read where an utterance starts and ends in its recording, in seconds.

    Args:
        start: the number; nothing is the start of the recording.
        end: the number; nothing is the end of the recording.
        where: file and line, for messages.

    Raises:
        CorpusError: a time is no number from 0, or the end is not after the start.
    """
    times: list[float | None] = []
    for name, text in (("start", start), ("end", end)):
        try:
            seconds = float(text) if text else None
        except ValueError:
            seconds = math.nan
        if seconds is not None and not 0 <= seconds < math.inf:
            raise CorpusError(f"{where}: expected seconds as {name}, such as 12.5, found {text!r}")
        times.append(seconds)
    first, last = times[0] or 0.0, times[1]
    if last is not None and last <= first:
        raise CorpusError(f"{where}: expected an end after the start {first:g}, found {last:g}")
    return first, last


def spelling_on_disk(root: Path, path: str) -> str:
    """A path as its file is called, whose characters may be composed or not."""
    place = Place.at(path)
    forms = (place.file, *(unicodedata.normalize(form, place.file) for form in ("NFC", "NFD")))
    file = next((form for form in forms if os.path.lexists(root / form)), place.file)
    return f"{file}{place.fragment}"


def check_filled(table: str | Path, columns: Sequence[str]) -> None:
    """Check that every row of a table has a value in some columns.

    Raises:
        CorpusError: a cell is empty; the message names its line.
    """
    for line, row in read_table(Path(table), columns)[1]:
        require_cells(row, columns, f"{table}, line {line}")


def require_cells(row: Mapping[str, str], columns: Iterable[str], where: str) -> None:
    """Check that a row has a value in some columns.

    Args:
        row: cells by column.
        columns: those that must have a value.
        where: file and line, for the message.

    Raises:
        CorpusError: a cell is empty.
    """
    if empty := [name for name in columns if not row[name]]:
        raise CorpusError(f"{where}: column {empty[0]!r} is empty")


def read_label_columns(table: str | Path) -> list[str]:
    """The columns that a task can predict: the labels and, if the table has it, the speaker.

    Raises:
        CorpusError: this is no table, or its header is not as :func:`read_recordings` needs it.
    """
    header, _ = read_table(Path(table), ["path", "split"])
    _check_labels(Path(table), header, None)
    return [name for name in header if name not in ("path", "split", "start", "end")]


def read_table(
    table: Path, needed: Sequence[str]
) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """Read a CSV or TSV file, in UTF-8 or UTF-16.

    Returns:
        The names of its columns; and an iterator over its rows, each as the number of its line and
        its stripped cells by column.

    Raises:
        CorpusError: the file cannot be read, a needed column is missing, a column is there twice, a
            row is too short or too long, a cell has a line break, or a quotation mark is not
            closed; the message names the line.
    """
    rows = _read_cells(table)
    _, header = next(rows, (0, []))
    if missing := [name for name in needed if name not in header]:
        raise CorpusError(
            f"{table}: expected the column {missing[0]!r}, "
            f"found {', '.join(header) or 'an empty file'}"
        )
    if repeated := [name for name in header if name and header.count(name) > 1]:
        raise CorpusError(f"{table}: the column {repeated[0]!r} is there more than once")
    return header, ((line, _by_column(table, line, header, cells)) for line, cells in rows)


def _read_cells(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and stripped cells of the rows that are not blank."""
    start = 1
    if table.exists() and not table.is_file():
        raise CorpusError(f"{table}: expected a file")
    try:
        with table.open(encoding=_encoding(table), newline="") as stream:
            mark = _delimiter(table, stream.readline())
            stream.seek(0)
            # Quotation marks are a part of CSV; where tabs separate the cells, they are text.
            quote = None if mark == "\t" else '"'
            reader = csv.reader(stream, delimiter=mark, quotechar=quote, strict=True)
            for row in reader:
                if reader.line_num > start:
                    raise CorpusError(
                        f"{table}, line {start}: a cell goes on in the next line; expected each "
                        f"row in one line, found a quotation mark that ends in line "
                        f"{reader.line_num}"
                    )
                if any(cells := [cell.strip() for cell in row]):
                    if any("\0" in cell for cell in cells):
                        raise CorpusError(f"{table}, line {start}: a cell has a zero byte")
                    yield start, cells
                start = reader.line_num + 1
    except csv.Error as error:
        advice = "" if "limit" in str(error) else "; write a quotation mark in a quoted cell twice"
        raise CorpusError(
            f"{table}, line {start}: cannot be read as CSV ({error}){advice}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        utf16 = isinstance(error, UnicodeDecodeError) and error.encoding.startswith("utf-16")
        reason = str(error) if utf16 else why_unreadable(table, error)
        name = "UTF-16" if utf16 else "UTF-8"
        raise CorpusError(f"{table}: cannot be read as {name} CSV ({reason})") from error


def _encoding(table: Path) -> str:
    """UTF-16, as spreadsheets write it, has a mark at the start; without it, text is UTF-8."""
    with table.open("rb") as stream:
        is_utf16 = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "utf-16" if is_utf16 else "utf-8-sig"


def _delimiter(table: Path, header: str) -> str:
    """The mark that divides the header into most cells; none of them is in a name."""
    tabs_first = table.suffix.lower() in (".tsv", ".tab")
    outside = "".join(header.split('"')[::2])
    marks = ("\t", ",", ";") if tabs_first else (",", ";", "\t")
    return max(marks, key=outside.count)


def _by_column(
    table: Path, line: int, header: Sequence[str], cells: Sequence[str]
) -> dict[str, str]:
    if len(cells) != len(header):
        raise CorpusError(f"{table}, line {line}: expected {len(header)} cells, found {len(cells)}")
    return dict(zip(header, cells, strict=True))


def _check_labels(
    table: Path, header: Sequence[str], label_columns: Sequence[str] | None
) -> list[str]:
    """Check the names of the columns; return those of the labels, by default all other columns."""
    if label_columns is None:
        label_columns = [name for name in header if name not in COLUMNS]
    if reserved := [name for name in label_columns if name in RESERVED_COLUMNS]:
        raise CorpusError(
            f"{table}: a label column cannot be named {reserved[0]!r}; reserved are "
            + ", ".join(sorted(RESERVED_COLUMNS))
        )
    if "" in header:
        raise CorpusError(f"{table}: a column has no name, found {', '.join(header)}")
    return list(label_columns)


def write_table(path: str | Path, recordings: Sequence[Recording]) -> None:
    """Write recordings that all have the same labels as :func:`list_recordings` reads them."""
    labels = list(recordings[0].labels)
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "split", "speaker", *labels])
        for item in recordings:
            cells = (item.labels[name] for name in labels)
            writer.writerow([item.path, item.split, item.speaker, *cells])
