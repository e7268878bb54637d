"""The verbs that answer recordings, whole or in windows, and that learn from a few first."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speechprompt.audio.places import Place
from speechprompt.cli.verb import ExitStatus
from speechprompt.errors import ConfigError
from speechprompt.predict.segments import SegmentFormat
from speechprompt.runtime.progress import log, progress, show

if TYPE_CHECKING:
    from speechprompt.audio.paths import AudioPaths
    from speechprompt.audio.reading import AudioError
    from speechprompt.predict.answer import Answer
    from speechprompt.predict.predictor import Predictor
    from speechprompt.predict.windows import Windows
    from speechprompt.training.job import Computation

__all__ = ["enrol", "predict"]

STANDARD_INPUT, MICROPHONE = "-", "microphone"
# Name and samples of what is heard while it is answered.
Live = tuple[str, Iterator[tuple["np.ndarray", int]]]


def predict(
    paths: Sequence[Path],
    weights: Path | None = None,
    lists: list[Path] | None = None,
    as_json: bool = False,
    as_table: bool = False,
    threshold: float = 0.0,
    window: float | None = None,
    hop: float | None = None,
    silence: float | None = None,
    form: SegmentFormat | None = None,
    pcm: int | None = None,
    device: str = "auto",
) -> ExitStatus:
    """Answer recordings with finished tasks.

    Args:
        paths: folders of tasks, such as results/ks, then recordings: files, folders, parts of
            files such as talk.wav#t=12.5,14, manifests (Parquet), tables (CSV), - for paths on
            standard input, one a line, or the word microphone.
        weights: the encoder's weights, if they have been moved.
        lists: file that lists recordings, one a line; may be repeated.
        as_json: print JSON lines with all probabilities, as is the default without a terminal.
        as_table: print a table, as is the default on a terminal.
        threshold: an answer with a lower probability is none.
        window: answer windows of so many seconds, and print what is found with times.
        hop: seconds from one window to the next; default a quarter of the window.
        silence: what is so many decibels quieter than the loudest, or about as quiet as the
            quietest, is a pause; 0 knows no pauses; default 30.
        form: format of what is found in windows; default jsonl, on a terminal table.
        pcm: read raw PCM of this rate in Hz from standard input (16 bits, little-endian, one
            channel) and answer its windows as they come.
        device: cpu, cuda or auto.

    Returns:
        The exit status: 1 if a recording could not be used.
    """
    from speechprompt.audio.paths import AudioPaths
    from speechprompt.corpora.utterances import listed_utterances
    from speechprompt.predict.predictor import Predictor
    from speechprompt.predict.windows import Windows

    folders, arguments = _tasks_first(paths)
    live = None
    if pcm is not None or _is_microphone(arguments):
        live = heard, _ = _live(pcm)
        word, option = (MICROPHONE,) * 2 if pcm is None else (STANDARD_INPUT, "--pcm")
        arguments = [path for path in arguments if str(path) != word]
        if arguments or lists or window is None:
            raise ConfigError(f"{option}: expected --window, and no recordings but {heard}")
    elif not arguments and not lists:
        raise ConfigError("expected recordings: files, folders, --list FILE, or - for a list")
    if as_json and as_table:
        raise ConfigError("expected --json or --table, found both")
    as_json = as_json or not (as_table or sys.stdout.isatty())
    if window is None:
        if hop is not None or silence is not None or form is not None:
            raise ConfigError("--hop, --silence and --format go with --window")
        windows = None
    else:
        hop = window / 4 if hop is None else hop
        windows = Windows(window, hop, 30.0 if silence is None else silence)
    listed = list(listed_utterances(arguments))
    if arguments and not (listed or lists):
        raise ConfigError(f"{arguments[0]}: lists no recordings")
    recordings = AudioPaths(listed, lists or [])
    predictor = Predictor.load(*folders, weights=weights, device=device, threshold=threshold)
    if windows is None:
        files = progress(recordings, "predict", total=recordings.total, unit="file")
        return _print(predictor.stream(files, recordings.is_waiting), as_json)
    form = form or ("jsonl" if as_json else "table")
    return _print_segments(predictor, recordings, windows, form, live)


def enrol(
    folders: Sequence[Path],
    task: str,
    out: Path | None = None,
    recordings: list[Path] | None = None,
    *,
    seed: int = 1,
    computation: "Computation | None" = None,
) -> ExitStatus:
    """Train a task on a few recordings of each label, and write a folder that predict takes.

    Args:
        folders: a folder of recordings for each label, whose name is the label; five recordings
            are enough.
        task: name of the task.
        out: folder of the task to write; default results/TASK.
        recordings: file or folder that the new task answers at once; may be repeated.
        seed: seed of the training.
        computation: device and threads.

    Returns:
        The exit status: 1 if a recording could not be used.
    """
    from speechprompt.predict import enrolment

    if missing := [path for path in recordings or [] if not os.path.exists(Place.at(path).file)]:
        raise ConfigError(f"--predict: {missing[0]}: no such file or folder")
    made = enrolment.enrol(folders, task, out, seed=seed, computation=computation)
    if not recordings:
        log(f"try `speechprompt predict {made} FILE`")
        return ExitStatus(0)
    return predict([made, *recordings], device=computation.device if computation else "auto")


def _is_microphone(arguments: Sequence[Path]) -> bool:
    """Whether the microphone is to be heard; a file or a folder of this name goes first."""
    return MICROPHONE in map(str, arguments) and not Path(MICROPHONE).exists()


def _live(pcm: int | None) -> Live:
    """The microphone, or raw PCM of some rate on standard input."""
    if pcm is None:
        from speechprompt.audio.microphone import microphone_blocks

        return MICROPHONE, microphone_blocks()
    from speechprompt.predict.windows import pcm_blocks

    if sys.stdin is None:
        raise ConfigError("--pcm: standard input is closed")
    return "standard input", pcm_blocks(sys.stdin.buffer, pcm)


def _tasks_first(paths: Sequence[Path]) -> tuple[Sequence[Path], Sequence[Path]]:
    from speechprompt.predict.task_folder import is_task_folder, open_task

    n_tasks = next((i for i, path in enumerate(paths) if not is_task_folder(path)), len(paths))
    if n_tasks == 0:
        open_task(paths[0])  # its error says what is missing
    if late := [path for path in paths[n_tasks:] if is_task_folder(path)]:
        raise ConfigError(f"{late[0]}: expected folders of tasks first, then recordings")
    return paths[:n_tasks], paths[n_tasks:]


def _print(blocks: Iterable[list["Answer"]], as_json: bool) -> ExitStatus:
    """Print answers as they are found; return the exit status."""
    from speechprompt.predict.answer import AnswerTable

    failed, table = False, AnswerTable()
    for answers in blocks:
        failed |= any(answer.error is not None for answer in answers)
        for answer in answers:
            if answer.warning is not None:
                log(f"warning: {answer.file}: {answer.task}: {answer.warning}")
        if as_json:
            lines = (json.dumps(answer.to_dict(), ensure_ascii=False) for answer in answers)
            show("\n".join(lines))
        else:
            show(table.block(answers))
    return ExitStatus(failed)


def _print_segments(
    predictor: "Predictor",
    recordings: "AudioPaths",
    windows: "Windows",
    form: SegmentFormat,
    live: Live | None,
) -> ExitStatus:
    """Print what is found in windows, as it is found; return the exit status."""
    from speechprompt.audio.reading import AudioError
    from speechprompt.predict.segments import segment_writer
    from speechprompt.predict.windows import find_segments

    if form == "audacity" and live is None and recordings.total != 1:
        raise ConfigError("--format audacity: expected one recording, whose labels a file holds")
    if form in ("rttm", "ctm") and len(predictor.tasks) > 1:
        raise ConfigError(f"--format {form}: expected one task, which its lines do not name")
    write, failed = segment_writer(form, n_tasks=len(predictor.tasks)), False
    sources: Iterable[Live]
    if live:
        sources = [live]
    else:
        files = progress(recordings, "predict", total=recordings.total, unit="file")
        sources = ((str(getattr(file, "path", file)), _samples(file)) for file in files)
    for name, blocks in sources:
        try:
            for segment in find_segments(
                predictor, blocks, windows, name, at_once=live is not None
            ):
                show(write(segment), tabs=form == "audacity")
        except AudioError as error:
            failed = True
            if form == "jsonl":
                show(json.dumps({"file": name, "error": error.reason}, ensure_ascii=False))
            else:
                log(f"{name}: {error.reason}")
    return ExitStatus(failed)


def _samples(file: "Path | AudioError") -> Iterator[tuple[np.ndarray, int]]:
    """The samples of a recording in blocks; an error is raised where they are wanted."""
    from speechprompt.audio.reading import AudioError, read_blocks

    if isinstance(file, AudioError):
        raise file
    yield from read_blocks(file)
