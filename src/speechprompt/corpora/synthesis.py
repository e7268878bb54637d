"""A folder of synthesised recordings and its table: resumable, same whatever happened before."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile

from speechprompt.audio import SAMPLE_RATE
from speechprompt.corpora.espeak import Speaker
from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.files import atomic_path, read_json, write_json
from speechprompt.progress import progress

__all__ = ["TABLE", "Utterance", "synthesise_corpus"]

TABLE = "corpus.csv"
PARAMETERS = "parameters.json"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording to make. Subclasses add what it takes to make it."""

    recording: Recording


AnyUtterance = TypeVar("AnyUtterance", bound=Utterance)


def synthesise_corpus(
    out_dir: str | Path,
    utterances: Sequence[AnyUtterance],
    render: Callable[[Speaker, AnyUtterance], np.ndarray],
    parameters: Mapping[str, Any],
) -> Path:
    """Write every utterance as 16 kHz 16-bit WAV, then the table ``corpus.csv``.

    A run that was stopped goes on where it was; a folder made with the same parameters is kept; one
    made with others is made anew.

    Args:
        out_dir: Folder of the corpus.
        utterances: What to make, rows of the table in this order, all with the same labels.
        render: Makes float32 ``[n_samples]`` at 16 kHz, depending on its arguments alone.
        parameters: All that the recordings depend on, as JSON.

    Returns:
        The table: columns ``path``, ``split``, ``speaker``, then labels.

    Raises:
        CorpusError: the folder holds something that was not made here.
    """
    out_dir = Path(out_dir)
    _claim_folder(out_dir, dict(parameters))
    todo = [item for item in utterances if not (out_dir / item.recording.path).is_file()]
    table = out_dir / TABLE
    if not todo and table.is_file():
        return table
    with Speaker() as speaker:
        for item in progress(todo, "synthesise speech"):
            _write_wav(out_dir / item.recording.path, render(speaker, item))
    _write_table(table, [item.recording for item in utterances])
    return table


def _claim_folder(out_dir: Path, parameters: dict[str, Any]) -> None:
    """Leave in the folder only what was made with these parameters."""
    record = out_dir / PARAMETERS
    made = [path for name in (*SPLITS, TABLE) if (path := out_dir / name).exists()]
    if record.exists():
        try:
            if read_json(record) == parameters:
                return
        except ArtefactError:
            pass
    elif made:
        raise CorpusError(
            f"{out_dir}: expected an empty folder for synthesised speech, found {made[0].name}; "
            "move it away or choose another folder"
        )
    for path in made:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(record, parameters)


def _write_wav(path: Path, waveform: np.ndarray) -> None:
    samples = np.clip(np.rint(waveform * 32767), -32768, 32767).astype(np.int16)
    with atomic_path(path) as temporary:
        soundfile.write(temporary, samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")


def _write_table(path: Path, recordings: Sequence[Recording]) -> None:
    labels = list(recordings[0].labels) if recordings else []
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["path", "split", "speaker", *labels])
        for item in recordings:
            values = [item.labels[name] for name in labels]
            writer.writerow([item.path, item.split, item.speaker or "", *values])
