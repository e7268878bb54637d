"""Looking at a synthesised corpus, for the tests of all its tasks."""

import csv
from pathlib import Path


def table(folder: Path) -> list[dict[str, str]]:
    """Rows of its table."""
    with (folder / "corpus.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
