"""Corpora that are quantised already: text lines of units and labels, as published for the paper.

Lines are ``u1 u2 … un <s> l1 l2 …`` or ``file|u1 u2 … un|l1 l2 …``; labels are names or indices.
They enter the pipeline after the encoder: durations, number of frames and path are unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class _Line:
    utt_id: str
    units: tuple[int, ...]
    labels: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(map(str, self.units))


def prepare_units(
    split: str, out: str | Path, corpus: UnitsCorpus, *, dictionary: str | Path
) -> int:
    """Write one split of the corpus as a units file.

    All files are read whichever split is wanted, so that ids are distinct over the splits and the
    splits agree on whether repeated units were collapsed.

    Args:
        split: ``train``, ``dev``, ``valid`` or ``test``.
        out: The units file.
        corpus: settings: the files of lines, the names of labels, and the share of the training
            lines that becomes ``dev``, by hash of the units, so that equal units stay together.
            Its codebook is stored as ``external:{codebook}`` with the hash of ``dictionary``.
        dictionary: The unit LM's dict.txt, ``symbol count`` a line; its numbers are the units.

    Returns:
        The number of utterances.

    Raises:
        CorpusError: no such split, or a file or line is not as described, naming file and line.
    """
    vocabulary = read_vocabulary(dictionary)
    columns = corpus.columns
    names = _global_names(columns, corpus.label_names)
    splits: dict[str, list[_Line]] = {}
    for part, path in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        if path is not None:
            splits[part] = list(_read_lines(part, Path(path), vocabulary, columns, names))
    _make_distinct(splits)
    collapsed = not any(_has_repeats(line.units) for part in splits.values() for line in part)
    if corpus.deduplicate:
        splits["train"] = _keep_first(splits["train"])
    if corpus.dev_fraction > 0:
        splits = _split_off_dev(splits, Path(corpus.train), corpus.dev_fraction)
    if split not in splits:
        raise CorpusError(
            f"split: expected {', '.join(splits)} of the units in {corpus.train}, found {split!r}"
        )
    lines = splits[split]
    values: dict[str, Sequence[object]] = {
        "utt_id": [line.utt_id for line in lines],
        "units": [line.units for line in lines],
    }
    for index, name in enumerate(columns):
        values[name] = [line.labels[index] for line in lines]
    metadata = UnitsMetadata(
        codebook=f"external:{corpus.codebook}",
        codebook_sha256=sha256_file(dictionary),
        n_units=len(vocabulary),
        dedup=collapsed,
    )
    write_units(out, values, label_columns=columns, metadata=metadata)
    return len(lines)


def read_vocabulary(dictionary: str | Path) -> frozenset[int]:
    """The units that a fairseq dictionary lists: its numeric symbols.

    Raises:
        CorpusError: not such a file, or its units are not 0 … K-1.
    """
    symbols = read_symbols(dictionary, CorpusError)
    units = {int(symbol) for symbol in symbols if symbol.isdecimal()}
    if not units or units != set(range(len(units))):
        missing = sorted(set(range(max(units, default=0) + 1)) - units)
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
        yield _Line(
            utt_id=name or f"{split}-{number:06d}",
            units=tuple(_parse_unit(where, unit, vocabulary) for unit in units),
            labels=tuple(
                _name_label(where, column, label, names)
                for column, label in zip(label_columns, labels, strict=True)
            ),
        )
    if not number:
        raise CorpusError(f"{path}: no lines")


def _split_line(where: str, text: str) -> tuple[str, list[str], list[str]]:
    """Name (empty where the line has none), units and labels."""
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


def _parse_unit(where: str, text: str, vocabulary: frozenset[int]) -> int:
    if not (text.isdecimal() and int(text) in vocabulary):
        raise CorpusError(
            f"{where}: expected units 0 to {len(vocabulary) - 1} of the dictionary, found {text!r}"
        )
    return int(text)


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
    """For each column, index as text -> name; empty where labels are kept as they are."""
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


def _make_distinct(splits: dict[str, list[_Line]]) -> None:
    ids = iter(unique_ids(line.utt_id for part in splits.values() for line in part))
    for split, part in splits.items():
        splits[split] = [replace(line, utt_id=next(ids)) for line in part]


def _keep_first(lines: Sequence[_Line]) -> list[_Line]:
    first: dict[tuple[tuple[int, ...], tuple[str, ...]], _Line] = {}
    for line in lines:
        first.setdefault((line.units, line.labels), line)
    return list(first.values())


def _split_off_dev(
    splits: dict[str, list[_Line]], train: Path, dev_fraction: float
) -> dict[str, list[_Line]]:
    parts: dict[bool, list[_Line]] = {True: [], False: []}
    for line in splits["train"]:
        parts[share_of(line.text) < dev_fraction].append(line)
    if not (parts[True] and parts[False]):
        raise CorpusError(
            f"{train}: a dev_fraction of {dev_fraction} of {len(splits['train'])} lines leaves "
            "train or dev empty"
        )
    return {**splits, "train": parts[False], "dev": parts[True]}


def _has_repeats(units: Sequence[int]) -> bool:
    return any(left == right for left, right in pairwise(units))
