"""The utterances that a manifest or a table lists, for those who want to hear or answer them."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from speechprompt.audio.places import Place
from speechprompt.corpora.manifest import read_root
from speechprompt.corpora.table import read_table, read_times, require_cells, spelling_on_disk
from speechprompt.errors import CorpusError
from speechprompt.storage.parquet import read_parquet

__all__ = ["listed_utterances"]


def listed_utterances(names: Iterable[str | Path]) -> Iterator[str | Path]:
    """Put the utterances of a manifest (Parquet) or of a table (CSV, TSV) in its place.

    Other names stay as they are.

    Raises:
        ArtefactError: this is no manifest.
        CorpusError: this is no table with a column ``path``, or a row of it has no path, names a
            folder, or has wrong times; the message names its line.
    """
    for name in names:
        match Path(name).suffix.lower():
            case ".parquet":
                root = read_root(name)
                paths = read_parquet(name, ["path"])["path"].to_pylist()
                yield from (root / path for path in paths)
            case ".csv" | ".tsv" | ".tab":
                for line, row in read_table(Path(name), ["path"])[1]:
                    yield _in_row(row, Path(name).parent, f"{name}, line {line}")
            case _:
                yield name


def _in_row(row: Mapping[str, str], root: Path, where: str) -> Path:
    """The utterance in a row of a table, whose path is relative to ``root``."""
    require_cells(row, ["path"], where)
    times = read_times(row.get("start"), row.get("end"), where)
    path = spelling_on_disk(root, row["path"])
    if os.path.isdir(root / path):
        raise CorpusError(f"{where}: expected a recording, found the folder {path}")
    return root / (path + Place("", *times).fragment)
