"""Corpora that are quantised already: text lines of units and labels, as published for the paper.

Lines are ``u1 u2 … un <s> l1 l2 …`` or ``file|u1 u2 … un|l1 l2 …``; labels are names or indices.
These corpora enter the pipeline after the encoder, so that durations, number of frames and path are
unknown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from speechprompt.config.corpora import UnitsCorpus
from speechprompt.corpora.manifest import RESERVED_COLUMNS, unique_ids
from speechprompt.errors import CorpusError, some_of
from speechprompt.storage.files import text_lines
from speechprompt.storage.hashes import sha256_file, share_of
from speechprompt.units.symbols import read_symbols
from speechprompt.units.unit_files import UnitsMetadata, write_units

__all__ = ["prepare_units", "read_vocabulary"]

SEPARATOR_TOKEN = "<s>"
LONGEST_UNIT = 9  # digits, more than any codebook needs


@dataclass(slots=True)
class _Line:
    utt_id: str
    units: tuple[int, ...]
    labels: tuple[str, ...]


def prepare_units(
    split: str,
    out: str | Path,
    corpus: UnitsCorpus,
    *,
    dictionary: str | Path,
    train: str | Path | None = None,
    valid: str | Path | None = None,
    test: str | Path | None = None,
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

    Returns:
        The number of utterances.

    Raises:
        CorpusError: there is no such split, or a file or a line is not as described; the message
            names the line.
    """
    given = {"train": train, "valid": valid, "test": test}
    corpus = corpus.model_copy(update={name: str(path) for name, path in given.items() if path})
    vocabulary = read_vocabulary(dictionary)
    columns = corpus.columns
    names = _global_names(columns, corpus.label_names)
    splits: dict[str, list[_Line]] = {}
    for part, path in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        if path is not None:
            splits[part] = list(_read_lines(part, Path(path), vocabulary, columns, names))
    lines = [line for part in splits.values() for line in part]
    for line, utt_id in zip(lines, unique_ids(line.utt_id for line in lines), strict=True):
        line.utt_id = utt_id
    has_repeats = any(left == right for line in lines for left, right in pairwise(line.units))
    if corpus.deduplicate:
        first: dict[object, _Line] = {}
        for line in splits["train"]:
            first.setdefault((line.units, line.labels), line)
        splits["train"] = list(first.values())
    if corpus.dev_fraction > 0:
        splits = _split_off_dev(splits, Path(corpus.train), corpus.dev_fraction)
    if split not in splits:
        raise CorpusError(
            f"split: expected {', '.join(splits)} of the units in {corpus.train}, found {split!r}"
        )
    rows = [(line.utt_id, line.units, *line.labels) for line in splits[split]]
    values = dict(zip(("utt_id", "units", *columns), zip(*rows, strict=True), strict=True))
    metadata = UnitsMetadata(
        codebook=f"external:{corpus.codebook}",
        codebook_sha256=sha256_file(dictionary),
        n_units=len(vocabulary),
        dedup=not has_repeats,
    )
    write_units(out, values, label_columns=columns, metadata=metadata)
    return len(rows)


def read_vocabulary(dictionary: str | Path) -> frozenset[int]:
    """Read the units of a fairseq dictionary, which are its numeric symbols.

    Raises:
        CorpusError: this is no such file, or its units are not 0 … K-1.
    """
    symbols = read_symbols(dictionary, CorpusError)
    units = {unit for symbol in symbols if (unit := _unit(symbol)) is not None}
    if not units or units != set(range(len(units))):
        # Not up to the largest, which may be any number.
        missing = sorted(set(range(len(units) + 1)) - units)
        raise CorpusError(
            f"{dictionary}: expected the units 0 to K-1, found {len(units)} units without "
            + some_of(map(str, missing))
        )
    return frozenset(units)


def _read_lines(
    split: str,
    path: Path,
    vocabulary: frozenset[int],
    label_columns: Sequence[str],
    names: Mapping[str, Mapping[str, str]],
) -> Iterator[_Line]:
    number = 0
    for number, text in text_lines(path, CorpusError):
        where = f"{path}:{number}"
        name, units, labels = _split_line(where, text)
        if not units:
            raise CorpusError(f"{where}: no units")
        if len(labels) != len(label_columns):
            raise CorpusError(
                f"{where}: expected {len(label_columns)} labels ({', '.join(label_columns)}), "
                f"found {len(labels)}: {' '.join(labels)!r}"
            )
        if unknown := [u for u in units if _unit(u) not in vocabulary]:
            raise CorpusError(
                f"{where}: expected units 0 to {len(vocabulary) - 1} of the dictionary, "
                f"found {unknown[0][:60]!r}"
            )
        pairs = zip(label_columns, labels, strict=True)
        named = tuple(_name_label(where, column, label, names) for column, label in pairs)
        yield _Line(name or f"{split}-{number:06d}", tuple(map(int, units)), named)
    if not number:
        raise CorpusError(f"{path}: no lines")


def _unit(text: str) -> int | None:
    """The number of a unit; None for any other text."""
    is_unit = text.isascii() and text.isdecimal() and len(text) <= LONGEST_UNIT
    return int(text) if is_unit else None


def _split_line(where: str, text: str) -> tuple[str, list[str], list[str]]:
    """Split a line into name, which may be empty, units and labels."""
    if "|" in text:
        parts = text.split("|")
        if len(parts) == 3 and parts[0].strip():
            return parts[0].strip(), parts[1].split(), parts[2].split()
    else:
        fields = text.split()
        if fields.count(SEPARATOR_TOKEN) == 1:
            at = fields.index(SEPARATOR_TOKEN)
            return "", fields[:at], fields[at + 1 :]
    raise CorpusError(
        f"{where}: expected 'units {SEPARATOR_TOKEN} labels' or 'file|units|labels', "
        f"found {text[:60]!r}"
    )


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
    if reserved := [name for name in label_columns if name in RESERVED_COLUMNS]:
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


def _split_off_dev(
    splits: dict[str, list[_Line]], train: Path, dev_fraction: float
) -> dict[str, list[_Line]]:
    parts: dict[bool, list[_Line]] = {True: [], False: []}
    for line in splits["train"]:
        text = " ".join(map(str, line.units))
        parts[share_of(text) < dev_fraction].append(line)
    if not (parts[True] and parts[False]):
        raise CorpusError(
            f"{train}: a dev_fraction of {dev_fraction} of {len(splits['train'])} lines leaves "
            "train or dev empty"
        )
    return {**splits, "train": parts[False], "dev": parts[True]}
