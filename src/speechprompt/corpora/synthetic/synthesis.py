"""A folder of synthesised recordings and its table; an interrupted run can be resumed."""

import io
import os
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
import soundfile

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.corpora.synthetic.espeak import Speaker
from speechprompt.corpora.synthetic.phones import Alignment
from speechprompt.corpora.table import write_table
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.runtime.progress import log, progress
from speechprompt.storage.files import atomic_path, read_json, write_json
from speechprompt.storage.hashes import sha256_json
from speechprompt.storage.locks import locked

__all__ = ["TABLE", "Utterance", "in_batches", "speak_utterances", "to_pcm"]

T = TypeVar("T")

TABLE = "corpus.csv"
PARAMETERS = "parameters.json"
WORK = ".unfinished-"
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

    A folder that was made with the same parameters is kept. One that was made with others is made
    anew. An interrupted run can be resumed: recordings are in a hidden folder until all are there.
    Of several processes with the same folder, one at a time works, and the next finds its result.

    Args:
        out_dir: Folder of the corpus.
        utterances: The utterances in the order of the table, all with the same labels.
        parameters: All that the recordings depend on, as JSON values.
        processes: Number of processes, each with speech engines of its own.

    Returns:
        The table: columns ``path``, ``split``, ``speaker``, then labels.

    Raises:
        CorpusError: the folder holds files that were not made here.
    """
    out_dir, parameters = Path(out_dir), dict(parameters)
    with locked(out_dir / TABLE, tell=log):
        files = [item.recording.path for item in utterances]
        if not _is_finished(out_dir, files, parameters):
            _make(out_dir, utterances, parameters, processes)
    return out_dir / TABLE


def _make(
    out_dir: Path, utterances: Sequence[Utterance], parameters: dict[str, Any], processes: int
) -> None:
    work = _open_work(out_dir, parameters)
    todo = [item for item in utterances if not (work / item.recording.path).is_file()]
    written = in_batches(partial(_write_batch, work), todo, processes)
    for _ in progress(written, "synthesise speech", len(todo)):
        pass
    write_table(work / TABLE, [item.recording for item in utterances])
    for path in _made_in(out_dir):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in _made_in(work):
        os.replace(path, out_dir / path.name)
    os.sync()  # the recordings, before they are said to be whole
    write_json(out_dir / PARAMETERS, parameters)
    work.rmdir()


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


def _is_finished(out_dir: Path, files: Sequence[str], parameters: dict[str, Any]) -> bool:
    """Whether a folder has all recordings and the table, made with these parameters."""
    try:
        made_with = read_json(out_dir / PARAMETERS)
    except ArtefactError:
        return False
    needed = (out_dir / name for name in (TABLE, *files))
    return made_with == parameters and all(path.is_file() for path in needed)


def _open_work(out_dir: Path, parameters: dict[str, Any]) -> Path:
    """The folder in which recordings are collected until all are there.

    It is named after the parameters, so that an interrupted run goes on in it, and one with others
    does not. It is apart from what a rule declares, which Snakemake deletes before a job.
    """
    made = _made_in(out_dir)
    if made and not (out_dir / PARAMETERS).exists():
        raise CorpusError(
            f"{out_dir}: expected an empty folder for synthesised speech, found {made[0].name}; "
            "move it away or choose another folder"
        )
    work = out_dir / f"{WORK}{sha256_json(parameters)[:16]}"
    for other in out_dir.glob(f"{WORK}*"):
        if other != work:
            shutil.rmtree(other)
    work.mkdir(parents=True, exist_ok=True)
    for unfinished in work.rglob(".*.part"):
        unfinished.unlink()
    return work


def _made_in(folder: Path) -> list[Path]:
    """What a corpus consists of, as far as it is there."""
    return [path for name in (*SPLITS, TABLE) if (path := folder / name).exists()]


def _write_wav(path: Path, waveform: np.ndarray) -> None:
    # Into memory first: soundfile would wait for the disk by itself, and atomic_path does so again.
    content = io.BytesIO()
    soundfile.write(content, to_pcm(waveform), SAMPLE_RATE, subtype="PCM_16", format="WAV")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())
