"""Fluent Speech Commands: spoken commands with action, object and location (Lugosch et al., 2019).

The splits are the three published tables. The licence of Fluent.ai allows research only.
"""

from pathlib import Path

from speechprompt.config.corpora import FluentSpeechCommandsCorpus
from speechprompt.corpora.manifest import SPLITS, Listing, Recording
from speechprompt.corpora.published.counts import compare_counts, require_files, spell
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.corpora.table import read_table
from speechprompt.errors import CorpusError

__all__ = ["list_recordings"]

FOLDER = SOURCES["fluent_speech_commands"][0].folder
LABELS = ("action", "object", "location")
COLUMNS = ("path", "speakerId", "transcription", *LABELS)
PUBLISHED = {"train": 23_132, "valid": 3_118, "test": 3_793}


def list_recordings(corpus: FluentSpeechCommandsCorpus, root: Path, seed: int) -> Listing:
    """List the recordings in ``fluent_speech_commands_dataset`` below the root.

    The labels are ``action``, ``object``, ``location`` and ``text``. Rows keep the order of the
    tables, so that label values first appear in the published order.
    """
    recordings = []
    for split in SPLITS:
        table = root / FOLDER / "data" / f"{split}_data.csv"
        for line, row in read_table(table, COLUMNS)[1]:
            row["transcription"] = spell(row["transcription"])
            if empty := [name for name in COLUMNS if not row[name]]:
                raise CorpusError(f"{table}, line {line}: column {empty[0]!r} is empty")
            labels = {name: row[name] for name in LABELS} | {"text": row["transcription"]}
            path, speaker = f"{FOLDER}/{row['path']}", row["speakerId"]
            recordings.append(Recording(path, split, labels, speaker))
    require_files(root, recordings)
    compare_counts(root / FOLDER, recordings, PUBLISHED)
    return Listing(recordings, [*LABELS, "text"])
