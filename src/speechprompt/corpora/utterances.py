"""The utterances that a manifest or a table lists, for those who want to hear or answer them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from speechprompt.audio.places import Place
from speechprompt.corpora.manifest import read_root
from speechprompt.corpora.table import read_table, read_times, spelling_on_disk
from speechprompt.storage.parquet import read_parquet

__all__ = ["listed_utterances"]


def listed_utterances(names: Iterable[str | Path]) -> Iterator[str | Path]:
    """Put the utterances of a manifest (Parquet) or of a table (CSV, TSV) in its place.

    Other names stay as they are.

    Raises:
        ArtefactError: this is no manifest.
        CorpusError: this is no table with a column ``path``, or its times are wrong.
    """
    for name in names:
        match Path(name).suffix.lower():
            case ".parquet":
                root = read_root(name)
                paths = read_parquet(name, ["path"])["path"].to_pylist()
                yield from (root / path for path in paths)
            case ".csv" | ".tsv" | ".tab":
                for line, row in read_table(Path(name), ["path"])[1]:
                    times = read_times(row.get("start"), row.get("end"), f"{name}, line {line}")
                    root = Path(name).parent
                    path = spelling_on_disk(root, row["path"])
                    yield root / (path + Place("", *times).fragment)
            case _:
                yield name
