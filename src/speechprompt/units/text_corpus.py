"""Corpora that are quantised already: text lines of units, in the forms of other programs.

Labels are in the lines, by name or index, or in a table of their own. These corpora enter the
pipeline after the encoder, so that a path is unknown, and so are durations that no line has.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from speechprompt.config.corpora import UnitsCorpus
from speechprompt.corpora.manifest import RESERVED_COLUMNS, unique_ids
from speechprompt.corpora.table import read_table, require_cells
from speechprompt.errors import CorpusError, some_of
from speechprompt.runtime.progress import log
from speechprompt.storage.hashes import sha256_file, share_of
from speechprompt.units.symbols import read_symbols, unit_of
from speechprompt.units.text_forms import EXPECTED, UnitLine, collapse, read_lines
from speechprompt.units.unit_files import UnitsMetadata, write_units

__all__ = ["prepare_units", "read_vocabulary"]

# Units and their durations are int16 in a units file.
MOST_UNITS = LONGEST_DURATION = 32_767


@dataclass(slots=True)
class _Line:
    utt_id: str
    units: tuple[int, ...]
    labels: tuple[str, ...]
    durations: list[int] | None = None
    speaker: str | None = None


class _LabelTable:
    """Rows of a table of labels, which utterances find by their name or its stem."""

    def __init__(self, table: Path, rows: Mapping[str, Mapping[str, str]]) -> None:
        self._table = table
        self._rows = rows
        self._users: dict[str, str] = {}  # the utterance that has a row's labels, by the row's name

    def row_of(self, name: str, where: str) -> Mapping[str, str] | None:
        """The row of an utterance; None if the table has none.

        Raises:
            CorpusError: another utterance has this row; ``where`` is file and line, for the
                message.
        """
        key = name if name in self._rows else PurePosixPath(name).stem
        if key not in self._rows:
            return None
        if (user := self._users.setdefault(key, name)) != name:
            raise CorpusError(
                f"{where}: {name!r} and {user!r} would both have the labels of {key!r} in "
                f"{self._table}; expected a row for each, by the name that the lines have"
            )
        return self._rows[key]


def prepare_units(
    split: str,
    out: str | Path,
    corpus: UnitsCorpus,
    *,
    dictionary: str | Path,
    train: str | Path | None = None,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    table: str | Path | None = None,
) -> int:
    """Write one split of the corpus as a units file.

    All files are read for every split, so that ids are distinct over the splits, and all splits say
    the same about repeated units.

    Args:
        split: ``train``, ``dev``, ``valid`` or ``test``.
        out: The units file.
        corpus: The files of lines, the names of labels, and the share of the training lines that
            becomes ``dev``. A hash of the units decides on this, so that equal units stay together.
            The codebook is stored as ``external:{codebook}`` with the hash of ``dictionary``.
        dictionary: The unit LM's dict.txt, with a ``symbol count`` per line; its numbers are the
            units.
        train: File of training lines, in place of the settings' own.
        valid: File of validation lines, likewise.
        test: File of test lines, likewise.
        table: Table of labels, likewise.

    Returns:
        The number of utterances.

    Raises:
        CorpusError: there is no such split, or a file or a line is not as described; the message
            names the line.
    """
    given = {"train": train, "valid": valid, "test": test, "table": table}
    corpus = corpus.model_copy(update={name: str(path) for name, path in given.items() if path})
    vocabulary = read_vocabulary(dictionary)
    columns = [name for name in corpus.columns if name != "speaker"]
    names = _global_names(corpus.columns, corpus.label_names)
    labels = None if corpus.table is None else _read_labels(Path(corpus.table), corpus.columns)
    splits: dict[str, list[_Line]] = {}
    for part, path in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        if path is not None:
            found = read_lines(path, len(vocabulary), CorpusError)
            splits[part] = list(_read_split(part, Path(path), found, corpus, names, labels))
    lines = [line for part in splits.values() for line in part]
    for line, utt_id in zip(lines, unique_ids(line.utt_id for line in lines), strict=True):
        line.utt_id = utt_id
    has_repeats = any(left == right for line in lines for left, right in pairwise(line.units))
    if corpus.deduplicate:
        first: dict[object, _Line] = {}
        for line in splits["train"]:
            first.setdefault((line.units, line.labels), line)
        splits["train"] = list(first.values())
    if corpus.valid is None:
        _hold_out("valid", splits, corpus, corpus.valid_fraction)
    if corpus.dev_fraction > 0:
        _hold_out("dev", splits, corpus, corpus.dev_fraction)
    if split not in splits:
        raise CorpusError(
            f"split: expected {', '.join(splits)} of the units in {corpus.train}, found {split!r}"
        )
    chosen = splits[split]
    values: dict[str, Sequence[Any]] = {
        "utt_id": [line.utt_id for line in chosen],
        "units": [line.units for line in chosen],
        "speaker": [line.speaker for line in chosen],
    }
    labelled = zip(*(line.labels for line in chosen), strict=True)
    values |= dict(zip(corpus.columns, labelled, strict=True))
    if all(line.durations is not None for line in lines):
        durations = [line.durations or [] for line in chosen]
        values |= {"durations": durations, "n_frames": list(map(sum, durations))}
    metadata = UnitsMetadata(
        codebook=f"external:{corpus.codebook}",
        codebook_sha256=sha256_file(dictionary),
        n_units=len(vocabulary),
        dedup=not has_repeats,
    )
    write_units(out, values, label_columns=columns, metadata=metadata)
    return len(chosen)


def read_vocabulary(dictionary: str | Path) -> frozenset[int]:
    """Read the units of a fairseq dictionary, which are its numeric symbols.

    Raises:
        CorpusError: this is no such file, its units are not 0 … K-1, or there are more than a
            units file can hold.
    """
    symbols = read_symbols(dictionary, CorpusError)
    units = {unit for symbol in symbols if (unit := unit_of(symbol)) is not None}
    if not units or units != set(range(len(units))):
        # Not up to the largest, which may be any number.
        missing = sorted(set(range(len(units) + 1)) - units)
        raise CorpusError(
            f"{dictionary}: expected the units 0 to K-1, found {len(units)} units without "
            + some_of(map(str, missing))
        )
    if len(units) > MOST_UNITS:
        raise CorpusError(
            f"{dictionary}: expected at most {MOST_UNITS:,} units, found {len(units):,}"
        )
    return frozenset(units)


def _read_split(
    split: str,
    path: Path,
    lines: Iterable[UnitLine],
    corpus: UnitsCorpus,
    names: Mapping[str, Mapping[str, str]],
    labels: _LabelTable | None,
) -> Iterator[_Line]:
    """Give the units of a split their labels."""
    number, kept = 0, 0
    left_out: list[str] = []
    for line in lines:
        number, where = line.number, f"{path}:{line.number}"
        if labels is not None:
            row = labels.row_of(line.name, where)
            if row is None:
                left_out.append(line.name or f"line {number}")
                continue
            cells = row
        else:
            cells = _labels_in(line, where, corpus.columns)
        named = tuple(_name_label(where, name, cells[name], names) for name in corpus.columns)
        units, durations = line.units, line.durations
        if corpus.collapse:
            units, durations = collapse(units, durations)
        if (longest := max(durations or [0])) > LONGEST_DURATION:
            raise CorpusError(
                f"{where}: expected durations of at most {LONGEST_DURATION} frames, found {longest}"
            )
        name, kept = line.name or f"{split}-{number:06d}", kept + 1
        speaker = unicodedata.normalize("NFC", cells.get("speaker") or "") or None
        yield _Line(name, tuple(units), named, durations, speaker)
    if not number:
        raise CorpusError(f"{path}: no lines")
    if left_out and not kept:
        raise CorpusError(f"{path}: no line has labels in {corpus.table}, such as {left_out[0]!r}")
    if left_out:
        log(f"warning: {path}: not in {corpus.table}, and left out: {some_of(left_out)}")


def _labels_in(line: UnitLine, where: str, columns: Sequence[str]) -> Mapping[str, str]:
    """The labels in a line, by column."""
    if line.labels is None:
        missing = [name for name in columns if name not in line.fields]
        if not missing:
            return line.fields
        expected = f"expected text or a number as {missing[0]!r}" if line.fields else EXPECTED
        raise CorpusError(
            f"{where}: {expected}, found {line.text!r}; labels that are elsewhere are a table"
        )
    if len(line.labels) != len(columns):
        raise CorpusError(
            f"{where}: expected {len(columns)} labels ({', '.join(columns)}), "
            f"found {len(line.labels)}: {' '.join(line.labels)!r}"
        )
    return dict(zip(columns, line.labels, strict=True))


def _read_labels(table: Path, columns: Sequence[str]) -> _LabelTable:
    """Read a table of labels, whose rows have the names of their utterances."""
    header, rows = read_table(table, columns)
    key = next((name for name in ("utt_id", "path", "file") if name in header), None)
    if key is None:
        raise CorpusError(
            f"{table}: expected the column utt_id, path or file, found {', '.join(header)}"
        )
    found: dict[str, dict[str, str]] = {}
    for line, row in rows:
        if row[key] in found:
            raise CorpusError(f"{table}, line {line}: {row[key]!r} is there before")
        require_cells(row, (key, *columns), f"{table}, line {line}")
        found[row[key]] = row
    return _LabelTable(table, found)


def _name_label(where: str, column: str, label: str, names: Mapping[str, Mapping[str, str]]) -> str:
    if column not in names:
        return label
    if label not in names[column]:
        indices = list(names[column])
        raise CorpusError(
            f"{where}: expected a label index {indices[0]} to {indices[-1]} for {column!r}, "
            f"found {label!r}"
        )
    return names[column][label]


def _global_names(
    label_columns: Sequence[str], label_names: Sequence[str] | Mapping[str, Sequence[str]] | None
) -> dict[str, dict[str, str]]:
    """The names of each column's label indices; empty if labels stay as they are."""
    if not label_columns or len(set(label_columns)) < len(label_columns):
        raise CorpusError(f"label columns: expected distinct names, found {list(label_columns)}")
    if reserved := [name for name in label_columns if name in RESERVED_COLUMNS - {"speaker"}]:
        raise CorpusError(f"label columns: {reserved[0]!r} is the name of another column")
    if label_names is None:
        return {}
    if not isinstance(label_names, Mapping):
        shared = {str(index): name for index, name in enumerate(label_names)}
        return dict.fromkeys(label_columns, shared)
    if set(label_names) != set(label_columns):
        raise CorpusError(
            f"label names: expected the columns {', '.join(label_columns)}, "
            f"found {', '.join(label_names)}"
        )
    result, start = {}, 0
    for column in label_columns:
        own = label_names[column]
        result[column] = {str(start + index): name for index, name in enumerate(own)}
        start += len(own)
    return result


def _hold_out(
    name: str, splits: dict[str, list[_Line]], corpus: UnitsCorpus, fraction: float
) -> None:
    """Take a share of train as another split, by a hash, so that equal lines stay together."""
    at = None if corpus.disjoint is None else [*corpus.columns].index(corpus.disjoint)
    salt = "" if name == "dev" else f"{name}/"
    parts: dict[bool, list[_Line]] = {True: [], False: []}
    for line in splits["train"]:
        text = " ".join(map(str, line.units)) if at is None else line.labels[at]
        parts[share_of(f"{salt}{text}") < fraction].append(line)
    if not (parts[True] and parts[False]):
        n_lines = len(splits["train"])
        raise CorpusError(
            f"{corpus.train}: a {name}_fraction of {fraction} of {n_lines} lines leaves train or "
            f"{name} empty"
        )
    splits |= {"train": parts[False], name: parts[True]}
