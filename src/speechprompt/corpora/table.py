"""The user's own corpus: a CSV of paths, splits and labels."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from speechprompt.config.corpora import CsvCorpus
from speechprompt.corpora.manifest import RESERVED_COLUMNS, SPLITS, Listing, Recording
from speechprompt.errors import CorpusError

__all__ = ["list_recordings", "read_label_columns", "read_recordings"]


def list_recordings(corpus: CsvCorpus, root: Path, seed: int) -> Listing:
    """List the recordings of a table, which names them from its own folder.

    The table has the columns ``path``, ``split``, optionally ``speaker``, then labels, of which an
    unlabelled corpus has none. A ``.tsv`` is split at tabs; a CSV at commas or, if its header has
    none, semicolons.

    Args:
        corpus: settings: the table, and the share of train taken as valid.
        root: as for every corpus; it is the table's folder.
        seed: as for every corpus; nothing is drawn here.

    Raises:
        CorpusError: the table is not as described.
    """
    return Listing(*read_recordings(corpus.table), corpus.valid_fraction)


def read_recordings(
    table: str | Path, label_columns: Sequence[str] | None = None
) -> tuple[list[Recording], list[str]]:
    """Read a table's recordings and the names of its labels.

    Raises:
        CorpusError: a column is missing, repeated or has a name that a stage writes itself, a
            split is unknown, a path or label is empty, a path is listed twice, or no rows.
    """
    table = Path(table)
    rows = _read_rows(table)
    header = _header(rows)
    labels = _check_header(table, header, label_columns)
    recordings: list[Recording] = []
    lines: dict[str, int] = {}
    for line, cells in rows:
        recording = _to_recording(f"{table}, line {line}", header, cells, labels)
        if recording.path in lines:
            raise CorpusError(
                f"{table}, line {line}: {recording.path} is listed before, "
                f"in line {lines[recording.path]}"
            )
        lines[recording.path] = line
        recordings.append(recording)
    if not recordings:
        raise CorpusError(f"{table}: no rows below the header")
    return recordings, labels


def read_label_columns(table: str | Path) -> list[str]:
    """What a task can predict of a table: its labels, and the speaker where there is one.

    Raises:
        CorpusError: not a table, or its header is not as :func:`read_recordings` needs it.
    """
    table = Path(table)
    header = _header(_read_rows(table))
    _check_header(table, header, None)
    return [name for name in header if name not in ("path", "split")]


def _header(rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    _, cells = next(rows, (0, []))
    return [name.strip() for name in cells]


def _read_rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of the rows that are not blank."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            header = stream.readline()
            stream.seek(0)
            reader = csv.reader(stream, delimiter=_delimiter(table, header), strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{table}: cannot be read as UTF-8 CSV ({error})") from error


def _delimiter(table: Path, header: str) -> str:
    if table.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    candidates = [",", ";", "\t"]
    return next((mark for mark in candidates if mark in header), ",")


def _check_header(
    table: Path, header: Sequence[str], label_columns: Sequence[str] | None
) -> list[str]:
    found = f"found {', '.join(header) or 'an empty file'}"
    wanted = ["path", "split", *(label_columns or ())]
    if missing := [name for name in wanted if name not in header]:
        raise CorpusError(f"{table}: expected the column {missing[0]!r}, {found}")
    if repeated := [name for name in header if header.count(name) > 1]:
        raise CorpusError(f"{table}: the column {repeated[0]!r} is there more than once, {found}")
    if label_columns is None:
        label_columns = [name for name in header if name not in ("path", "split", "speaker")]
    if reserved := [name for name in label_columns if name in RESERVED_COLUMNS]:
        raise CorpusError(
            f"{table}: a label column cannot be named {reserved[0]!r}; reserved are "
            + ", ".join(sorted(RESERVED_COLUMNS))
        )
    if "" in header:
        raise CorpusError(f"{table}: a column has no name, {found}")
    return list(label_columns)


def _to_recording(
    where: str, header: Sequence[str], cells: Sequence[str], labels: Sequence[str]
) -> Recording:
    if len(cells) != len(header):
        raise CorpusError(f"{where}: expected {len(header)} cells, found {len(cells)}")
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    if row["split"] not in SPLITS:
        raise CorpusError(
            f"{where}: expected split {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, "
            f"found {row['split']!r}"
        )
    for name in ("path", *labels):
        if not row[name]:
            raise CorpusError(f"{where}: column {name!r} is empty")
    return Recording(
        path=row["path"],
        split=row["split"],
        labels={name: row[name] for name in labels},
        speaker=row.get("speaker") or None,
    )
