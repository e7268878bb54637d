"""Fluent Speech Commands: spoken commands with action, object and location (Lugosch et al., 2019).

Research licence of Fluent.ai; the splits are its three tables.
"""

from __future__ import annotations

import csv
from pathlib import Path

from speechprompt.config.corpora import FluentSpeechCommandsCorpus
from speechprompt.corpora.manifest import SPLITS, Listing, Recording
from speechprompt.corpora.published.counts import compare_counts, require_files, spell
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.errors import CorpusError

__all__ = ["list_recordings"]

FOLDER = SOURCES["fluent_speech_commands"][0].folder
LABELS = ("action", "object", "location")
COLUMNS = ("path", "speakerId", "transcription", *LABELS)
PUBLISHED = {"train": 23_132, "valid": 3_118, "test": 3_793}


def list_recordings(corpus: FluentSpeechCommandsCorpus, root: Path, seed: int) -> Listing:
    """List the recordings with ``action``, ``object``, ``location`` and ``text``.

    Rows keep the order of the tables, so that label values first appear in the published order.

    Args:
        corpus: settings.
        root: folder that has ``fluent_speech_commands_dataset``.
        seed: as for every corpus; nothing is drawn here.

    Raises:
        CorpusError: a table is missing or has other columns, or a recording that it lists is not
            there.
    """
    recordings = [
        recording
        for split in SPLITS
        for recording in _read_table(root / FOLDER / "data" / f"{split}_data.csv", split)
    ]
    require_files(root, recordings)
    compare_counts(root / FOLDER, recordings, PUBLISHED)
    return Listing(recordings, [*LABELS, "text"])


def _read_table(table: Path, split: str) -> list[Recording]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = reader.fieldnames or []
            if missing := [name for name in COLUMNS if name not in header]:
                raise CorpusError(
                    f"{table}: expected the column {missing[0]!r}, found {', '.join(header)}"
                )
            return [_to_recording(f"{table}, line {reader.line_num}", row, split) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{table}: cannot be read as UTF-8 CSV ({error})") from error


def _to_recording(where: str, row: dict[str, str | None], split: str) -> Recording:
    cells = {name: (row[name] or "").strip() for name in COLUMNS}
    text = spell(cells["transcription"])
    if empty := [name for name, cell in (cells | {"transcription": text}).items() if not cell]:
        raise CorpusError(f"{where}: column {empty[0]!r} is empty")
    return Recording(
        path=f"{FOLDER}/{cells['path']}",
        split=split,
        labels={name: cells[name] for name in LABELS} | {"text": text},
        speaker=cells["speakerId"],
    )
