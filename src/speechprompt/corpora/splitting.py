"""Splits of a table: by speaker, with the same share of every label, or in folds."""

import csv
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from speechprompt.audio.places import Place
from speechprompt.corpora.manifest import SPLITS
from speechprompt.corpora.table import read_table, require_cells, spelling_on_disk
from speechprompt.errors import ConfigError, CorpusError, some_of
from speechprompt.runtime.progress import log
from speechprompt.storage.files import write_text

__all__ = ["split"]

Rows = Sequence[Mapping[str, str]]


def split(
    table: str | Path,
    out: str | Path,
    *,
    disjoint: str | None = None,
    stratify: str | None = None,
    valid: float = 0.1,
    test: float = 0.1,
    folds: int | None = None,
    seed: int = 1,
) -> dict[str, int]:
    """Divide the rows of a table into train, valid and test, and write it with these splits.

    Rows of one recording stay together. The parts come as near to their shares as whole groups of
    rows allow: the largest group is placed first, each where it is missed most, and equal groups
    are drawn by the seed.

    Args:
        table: CSV or TSV file with the column path. A column split is replaced.
        out: the new table. With folds their number is put before its ending.
        disjoint: column, such as speaker, whose values are in one split each.
        stratify: column, such as label, whose values have the same shares in all splits.
        valid: share of valid, 0 to 1; with folds, of what is not test.
        test: share of test, 0 to 1; with folds it is one fold after the other.
        folds: number of folds, each of which is test in one table; none writes one table.
        seed: seed of the draw.

    Returns:
        Rows per split; with folds, of all tables together.

    Raises:
        ConfigError: shares leave nothing for train, or there is less than two folds.
        CorpusError: the table cannot be read, a needed cell is empty, or a split has no row.
    """
    table, out = Path(table), Path(out)
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        found = f"{valid:g} and {test:g}"
        raise ConfigError(f"shares: expected valid and test below 1 together, found {found}")
    if folds is not None and folds < 2:
        raise ConfigError(f"folds: expected at least 2, found {folds}")
    needed = ["path", *filter(None, (disjoint, stratify))]
    header, numbered = read_table(table, needed)
    rows: list[dict[str, str]] = []
    for line, row in numbered:
        require_cells(row, needed, f"{table}, line {line}")
        rows.append(row)
    if not rows:
        raise CorpusError(f"{table}: no rows below the header")
    recordings = [_recording(table.parent, row["path"]) for row in rows]
    # Speakers and labels are the same in both of Unicode's forms.
    compared = [
        {name: unicodedata.normalize("NFC", row[name]) for name in (disjoint, stratify) if name}
        for row in rows
    ]
    groups = _groups([recordings, *([[row[disjoint] for row in compared]] if disjoint else [])])
    strata = _strata(compared, stratify)
    generator = np.random.default_rng(seed)
    everything = np.arange(len(rows))
    if folds is None:
        shares = (1 - valid - test, valid, test)
        tables = {out: np.array(SPLITS)[_divide(everything, groups, strata, shares, generator)]}
    else:
        parts = _divide(everything, groups, strata, (1 / folds,) * folds, generator)
        tables = {}
        for fold in range(folds):
            splits = np.full(len(rows), "test", dtype="<U5")
            rest = np.flatnonzero(parts != fold)
            inner = _divide(rest, groups, strata, (1 - valid, valid), generator)
            splits[rest] = np.array(SPLITS)[inner]
            name = f"{out.stem}-{fold + 1:0{len(str(folds))}d}{out.suffix}"
            tables[out.with_name(name)] = splits
    counts = Counter[str]()
    expected = ["train", *(["valid"] if valid else []), *(["test"] if test or folds else [])]
    for path, splits in tables.items():
        _check(path, compared, splits, expected, disjoint, stratify)
    for path, splits in tables.items():
        _write(path, table.parent, header, rows, splits)
        counts.update(splits.tolist())
    return {split: counts[split] for split in SPLITS}


def _recording(root: Path, path: str) -> str:
    """What a row is a recording or a part of, however its path is written."""
    place = Place.at(root / spelling_on_disk(root, path))
    whole = replace(place, file=os.path.realpath(place.file), start=0.0, end=None, channel=None)
    return str(whole)


def _groups(columns: Sequence[Sequence[str]]) -> np.ndarray:
    """A number for each row, the same for rows that share a value in any of the columns."""
    parents = list(range(len(columns[0])))

    def find(row: int) -> int:
        while parents[row] != row:
            parents[row] = row = parents[parents[row]]
        return row

    for column in columns:
        first: dict[str, int] = {}
        for number, value in enumerate(column):
            parents[find(number)] = find(first.setdefault(value, number))
    return np.array([find(number) for number in range(len(parents))])


def _strata(rows: Rows, column: str | None) -> np.ndarray:
    """``[n_rows, n_values + 1]``: which value a row has, and that it is a row."""
    everything = np.ones((len(rows), 1))
    if column is None:
        return everything
    values = {value: i for i, value in enumerate(sorted({row[column] for row in rows}))}
    chosen = np.eye(len(values))[[values[row[column]] for row in rows]]
    return np.hstack([chosen, everything])


def _divide(
    chosen: np.ndarray,
    groups: np.ndarray,
    strata: np.ndarray,
    shares: Sequence[float],
    generator: np.random.Generator,
) -> np.ndarray:
    """The part of each of the chosen rows; groups are placed where they bring what is missing."""
    names, members = np.unique(groups[chosen], return_inverse=True)
    content = np.zeros((len(names), strata.shape[1]))
    np.add.at(content, members, strata[chosen])
    total = np.maximum(content.sum(axis=0), 1)
    wanted = np.outer(shares, total)
    have = np.zeros_like(wanted)
    drawn = generator.permutation(len(names))
    order = drawn[np.argsort(-content[drawn, -1], kind="stable")]
    usable = np.flatnonzero(np.array(shares) > 0)
    parts = np.zeros(len(names), np.int64)
    for group in order:
        # How much the squared distance from what is wanted grows.
        growth = ((content[group] + 2 * (have - wanted)) * content[group] / total).sum(axis=1)
        part = usable[np.argmin(growth[usable])]
        parts[group] = part
        have[part] += content[group]
    for part in usable:
        counts = np.bincount(parts, minlength=len(shares))
        if counts[part] == 0 and counts.max(initial=0) > 1:
            # A small share may be smaller than any group.
            smallest = [group for group in order if parts[group] == counts.argmax()][-1]
            parts[smallest] = part
    return parts[members]


def _check(
    path: Path,
    rows: Rows,
    splits: np.ndarray,
    expected: Iterable[str],
    disjoint: str | None,
    stratify: str | None,
) -> None:
    """Tell what the splits have; one without rows is an error."""
    for split in expected:
        found = [row for row, one in zip(rows, splits, strict=True) if one == split]
        if not found:
            what = f"values of {disjoint!r}" if disjoint else "recordings"
            raise CorpusError(f"{path}: no row in split {split!r}; there are too few {what}")
        told = [f"{path}: {split} has {len(found)} rows"]
        told += [f"{len({row[name] for row in found})} {name}" for name in (disjoint,) if name]
        log(", ".join(told))
    if stratify is not None:
        known = {row[stratify] for row, one in zip(rows, splits, strict=True) if one == "train"}
        if missing := sorted({row[stratify] for row in rows} - known):
            log(f"warning: {path}: {stratify} in train is never {some_of(missing)}")


def _write(path: Path, base: Path, header: Sequence[str], rows: Rows, splits: np.ndarray) -> None:
    """Write a table whose paths lead to the same files."""
    names = [*header, *(["split"] if "split" not in header else [])]
    base, folder = base.resolve(), path.parent.resolve()
    text = io.StringIO()
    tabs = path.suffix.lower() in (".tsv", ".tab")
    style = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None} if tabs else {}
    writer = csv.writer(text, lineterminator="\n", **style)  # type: ignore[arg-type]
    try:
        writer.writerow(names)
        for row, split in zip(rows, splits.tolist(), strict=True):
            place = row["path"]
            if base != folder and not os.path.isabs(place):
                place = os.path.relpath(base / place, folder)
            cells = {**row, "split": split, "path": place}
            writer.writerow([cells[name] for name in names])
    except csv.Error as error:
        raise CorpusError(f"{path}: a cell has a tab; write a CSV file ({error})") from error
    write_text(path, text.getvalue())
