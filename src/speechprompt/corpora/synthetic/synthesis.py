"""A folder of synthesised recordings and its table; an interrupted run can be resumed."""

import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import soundfile

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.corpora.synthetic.espeak import Speaker
from speechprompt.corpora.synthetic.phones import Alignment
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.runtime.progress import progress
from speechprompt.storage.files import atomic_path, read_json, write_json

__all__ = ["TABLE", "Utterance", "in_batches", "speak_utterances", "to_pcm"]

T = TypeVar("T")

TABLE = "corpus.csv"
PARAMETERS = "parameters.json"
BATCH = 32
# Starting a process takes about as long as making this many utterances.
WORTH_A_PROCESS = 200


@dataclass(frozen=True, slots=True)
class Utterance(ABC):
    """One recording that is to be made."""

    recording: Recording

    @abstractmethod
    def render(self, speaker: Speaker) -> tuple[np.ndarray, Alignment]:
        """Make the recording, which depends on the utterance alone.

        Returns:
            float32 ``[n_samples]`` at 16 kHz; and its phones.
        """


def speak_utterances(
    out_dir: str | Path,
    utterances: Sequence[Utterance],
    parameters: Mapping[str, Any],
    *,
    processes: int = 1,
) -> Path:
    """Write every utterance as 16 kHz 16-bit WAV, then the table ``corpus.csv``.

    A folder that was made with the same parameters is kept or completed. One that was made with
    others is made anew.

    Args:
        out_dir: Folder of the corpus.
        utterances: The utterances in the order of the table, all with the same labels.
        parameters: All that the recordings depend on, as JSON values.
        processes: Number of processes, each with an eSpeak NG of its own.

    Returns:
        The table: columns ``path``, ``split``, ``speaker``, then labels.

    Raises:
        CorpusError: the folder holds files that were not made here.
    """
    out_dir = Path(out_dir)
    _claim_folder(out_dir, dict(parameters))
    for unfinished in out_dir.rglob(".*.part"):
        unfinished.unlink()
    todo = [item for item in utterances if not (out_dir / item.recording.path).is_file()]
    table = out_dir / TABLE
    if not todo and table.is_file():
        return table
    written = in_batches(partial(_write_batch, out_dir), todo, processes)
    for _ in progress(written, "synthesise speech", len(todo)):
        pass
    _write_table(table, [item.recording for item in utterances])
    return table


def in_batches(
    work: Callable[[Sequence[Utterance]], Sequence[T]], todo: Sequence[Utterance], processes: int
) -> Iterator[T]:
    """Work on batches of utterances, in several processes if there are enough batches.

    Args:
        work: Takes a batch and returns a result for each utterance. It is pickled.
        todo: All utterances.
        processes: The most processes to use.

    Yields:
        The results in the order of the utterances.
    """
    batches = [todo[start : start + BATCH] for start in range(0, len(todo), BATCH)]
    processes = min(processes, len(todo) // WORTH_A_PROCESS)
    if processes <= 1:
        yield from chain.from_iterable(map(work, batches))
        return
    # Spawned, because torch's threads do not survive a fork. Only this process reacts to Ctrl-C.
    ignore_interrupt = (signal.SIGINT, signal.SIG_IGN)
    with get_context("spawn").Pool(processes, signal.signal, ignore_interrupt) as pool:
        yield from chain.from_iterable(pool.imap(work, batches))


def to_pcm(waveform: np.ndarray) -> np.ndarray:
    """Convert a waveform of full scale 1 to int16, as the recordings store it."""
    return np.clip(np.rint(waveform * 32767), -32768, 32767).astype(np.int16)


def _write_batch(out_dir: Path, batch: Sequence[Utterance]) -> list[Path]:
    paths = [out_dir / item.recording.path for item in batch]
    with Speaker() as speaker:
        for path, item in zip(paths, batch, strict=True):
            _write_wav(path, item.render(speaker)[0])
    return paths


def _claim_folder(out_dir: Path, parameters: dict[str, Any]) -> None:
    """Empty the folder unless its files were made with these parameters."""
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
    with atomic_path(path) as temporary:
        soundfile.write(temporary, to_pcm(waveform), SAMPLE_RATE, subtype="PCM_16", format="WAV")


def _write_table(path: Path, recordings: Sequence[Recording]) -> None:
    fixed = ("path", "split", "speaker")
    rows = [{name: getattr(r, name) for name in fixed} | dict(r.labels) for r in recordings]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
