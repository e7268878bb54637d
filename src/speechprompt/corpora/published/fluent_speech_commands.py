"""Fluent Speech Commands: spoken commands with action, object and location (Lugosch et al., 2019).

Research licence of Fluent.ai; the splits are its three tables.
"""

from __future__ import annotations

import csv
from pathlib import Path

from speechprompt.corpora.manifest import SPLITS, Recording, write_manifests
from speechprompt.corpora.published.counts import compare_counts, require_files, spell
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.errors import CorpusError

__all__ = ["prepare_fluent_speech_commands"]

FOLDER = SOURCES["fluent_speech_commands"][0].folder
LABELS = ("action", "object", "location")
COLUMNS = ("path", "speakerId", "transcription", *LABELS)
PUBLISHED = {"train": 23_132, "valid": 3_118, "test": 3_793}


def prepare_fluent_speech_commands(
    root: str | Path,
    out_dir: str | Path,
    *,
    seed: int,
    max_rejected: float = 0.01,
    threads: int = 1,
) -> dict[str, int]:
    """Turn the corpus into manifests with ``action``, ``object``, ``location`` and ``text``.

    Rows keep the order of the tables, so that label values first appear in the published order.

    Args:
        root: Folder that has ``fluent_speech_commands_dataset``.
        out_dir: Folder of the manifests.
        seed: As for every preparation; the published splits draw nothing.
        max_rejected: Largest share of unusable recordings that is passed over.
        threads: Recordings decoded at a time.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: a table is missing or has other columns, a recording that it lists is not
            there, or as for ``write_manifests``.
    """
    root = Path(root)
    recordings = [
        recording
        for split in SPLITS
        for recording in _read_table(root / FOLDER / "data" / f"{split}_data.csv", split)
    ]
    require_files(root, recordings)
    compare_counts(root / FOLDER, recordings, PUBLISHED)
    return write_manifests(
        recordings,
        root,
        out_dir,
        label_columns=[*LABELS, "text"],
        seed=seed,
        valid_fraction=0.0,
        max_rejected=max_rejected,
        threads=threads,
    )


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
