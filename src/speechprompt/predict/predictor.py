"""Answers to new audio from published tasks, several in one pass.

Audio is read once and encoded once, whatever the number of tasks; tasks on one unit LM share it and
their batches. Units and answers are those of the pipeline. Scores are the same bits on a processor
for as many threads and the same batches; what else is in a batch may change their last ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch
from threadpoolctl import threadpool_limits

from speechprompt.audio.paths import recordings_at
from speechprompt.audio.reading import SAMPLE_RATE, AudioError, read_audio
from speechprompt.config.tasks import DecodingSettings
from speechprompt.encoders import Encoder, load_encoder
from speechprompt.encoders.batching import encode_in_batches
from speechprompt.errors import ConfigError, SpeechPromptError
from speechprompt.lm.artefact import LoadedLM, load_lm
from speechprompt.predict.answers import Answer, write_answer
from speechprompt.predict.task_folder import TaskFolder, open_task
from speechprompt.prompting.decoding import Question, answer_room, predict_together
from speechprompt.prompting.task_model import TaskModel, attach_prompt
from speechprompt.runtime.device import resolve_device
from speechprompt.runtime.precision import resolve_precision
from speechprompt.tasks.labels import Labels, restore_labels
from speechprompt.units.codebook import Codebook, check_codebook, load_codebook
from speechprompt.units.extraction import WINDOW_SECONDS
from speechprompt.units.feature_files import FeatureMetadata
from speechprompt.units.quantization import deduplicate

__all__ = ["Predictor"]

WINDOW_FILES = 1024
Heard = np.ndarray | SpeechPromptError  # of one recording: its samples or units, or why not


@dataclass(frozen=True)
class _Units:
    """One way from frames to units.

    Attributes:
        encoder: number of its encoder.
        codebook: the codebook.
        deduplicate: whether repeated units are collapsed.
    """

    encoder: int
    codebook: Codebook
    deduplicate: bool

    def of(self, frames: np.ndarray) -> Heard:
        """Units of one utterance, as the pipeline computes them: from frames in 16 bits."""
        with np.errstate(over="ignore"):
            frames = frames.astype(np.float16)
        if not np.isfinite(frames).all():
            return SpeechPromptError("its frames are not finite in 16 bits")
        units = self.codebook.assign(frames)
        try:
            return deduplicate(units)[0] if self.deduplicate else units
        except SpeechPromptError as error:
            return error


@dataclass(frozen=True)
class _Task:
    """A task, ready to answer.

    Attributes:
        name: what its answers are told apart by.
        model: LM and prompt.
        labels: what its label indices mean.
        decoding: how answers are found.
        units: number of the units it reads.
    """

    name: str
    model: TaskModel
    labels: Labels
    decoding: DecodingSettings
    units: int


@dataclass
class Predictor:
    """Published tasks, loaded.

    Example::

        predictor = Predictor.load("results/ks", "results/ic")
        for answer in predictor.predict(["a.wav", "b.flac"]):
            print(answer.file, answer.task, answer.answer, answer.probability)
    """

    encoders: list[Encoder] = field(default_factory=list)
    units: list[_Units] = field(default_factory=list)
    tasks: list[_Task] = field(default_factory=list)

    @classmethod
    def load(
        cls, *folders: str | Path, weights: str | Path | None = None, device: str = "auto"
    ) -> Predictor:
        """Load published tasks; an encoder, codebook or unit LM that they share is loaded once.

        Args:
            folders: the tasks' folders, such as ``results/ks``.
            weights: the encoder's weights, where they are no longer where they were.
            device: cpu, cuda or auto.

        Raises:
            ArtefactError: a file is missing, or is not the one of the training.
            ConfigError: no folder, or one twice.
        """
        if not folders:
            raise ConfigError("expected the folder of at least one task, such as results/ks")
        if len({Path(folder).resolve() for folder in folders}) < len(folders):
            raise ConfigError(f"expected each task once, found {' '.join(map(str, folders))}")
        device = resolve_device(device)
        opened = [open_task(folder, weights) for folder in folders]
        names = [one.task for one in opened]
        predictor = cls()
        encoders: dict[str, int] = {}
        lms: dict[tuple[str, torch.dtype], LoadedLM] = {}
        for one in opened:
            name = one.task if names.count(one.task) == 1 else str(one.folder)
            units = predictor._add_units(one, encoders, device)
            codebook = predictor.units[units].codebook
            decoding = DecodingSettings(**one.decoding)
            dtype = resolve_precision(decoding.precision, device)
            model = _load_model(one, codebook.sha256, lms, dtype, device)
            labels = restore_labels(one.described["answers"])
            task = _Task(name, model, labels, decoding, units)
            predictor.tasks.append(task)
        return predictor

    def predict(self, files: str | Path | Iterable[str | Path]) -> list[Answer]:
        """Answers to recordings, in their order; of one recording, in the order of the tasks.

        Args:
            files: recordings, or folders, which stand for all audio below them; or only one.

        Returns:
            A recording that cannot be used has answers whose ``error`` says why.
        """
        paths = [files] if isinstance(files, str | Path) else files
        found = (recording for path in paths for recording in recordings_at(path))
        return [answer for block in self.stream(found) for answer in block]

    def stream(
        self,
        files: Iterable[Path | AudioError],
        is_waiting: Callable[[], bool] = lambda: False,
    ) -> Iterator[list[Answer]]:
        """As :meth:`predict`, in blocks of a few minutes of audio: memory does not grow.

        Args:
            files: recordings, or the error that stands in the place of one.
            is_waiting: whether the next of ``files`` is not there yet; what is there is then
                answered first.
        """
        for names, heard in _windows(files, is_waiting):
            yield self._answer(names, heard)

    def _add_units(self, one: TaskFolder, loaded: dict[str, int], device: str) -> int:
        """Number of the task's units; what other tasks read already is not loaded again."""
        settings = json.dumps(one.encoder, sort_keys=True)
        if settings not in loaded:
            encoder = load_encoder(**one.encoder, device=device)
            known = [other.sha256 for other in self.encoders]
            if encoder.sha256 not in known:
                self.encoders.append(encoder)
                known.append(encoder.sha256)
            loaded[settings] = known.index(encoder.sha256)
        number = loaded[settings]
        codebook = load_codebook(one.codebook)
        features = FeatureMetadata.of(self.encoders[number])
        check_codebook(codebook, features, f"the encoder of {one.folder}")
        key = (codebook.sha256, one.deduplicate)
        keys = [(units.codebook.sha256, units.deduplicate) for units in self.units]
        if key in keys:
            return keys.index(key)
        self.units.append(_Units(number, codebook, one.deduplicate))
        return len(keys)

    def _answer(self, names: Sequence[str], heard: Sequence[Heard]) -> list[Answer]:
        """All tasks' answers to the recordings of a window."""
        units = self._quantise(heard)
        rows: list[list[int]] = []  # of every task: the recordings that it can answer
        answers: dict[tuple[int, int], Answer] = {}
        for number, task in enumerate(self.tasks):
            rows.append([])
            for i, found in enumerate(units[task.units]):
                error = _refusal(task, found)
                if error is None:
                    rows[number].append(i)
                else:
                    answers[i, number] = Answer(names[i], task.name, error=error)
        questions = [
            Question(task.model, [units[task.units][i] for i in own], task.decoding)
            for task, own in zip(self.tasks, rows, strict=True)
        ]
        for number, found in enumerate(predict_together(questions)):
            task = self.tasks[number]
            for k, i in enumerate(rows[number]):
                distribution = None if found.label_scores is None else found.label_scores[k]
                answers[i, number] = write_answer(
                    names[i], task.name, task.labels, found.labels[k], found.scores[k], distribution
                )
        return [answers[key] for key in sorted(answers)]

    def _quantise(self, heard: Sequence[Heard]) -> list[list[Heard]]:
        """Units of every kind; each recording is encoded once by each encoder."""
        good = [i for i, samples in enumerate(heard) if isinstance(samples, np.ndarray)]
        waveforms = [torch.from_numpy(heard[i]) for i in good]
        frames = [encode_in_batches(encoder, waveforms) for encoder in self.encoders]
        found = []
        # One thread, as in the pipeline: rounding stays the same everywhere.
        with threadpool_limits(limits=1):
            for units in self.units:
                row = list(heard)
                for i, frame in zip(good, frames[units.encoder], strict=True):
                    row[i] = units.of(frame.numpy())
                found.append(row)
        return found


def _load_model(
    one: TaskFolder,
    codebook_sha256: str,
    lms: dict[tuple[str, torch.dtype], LoadedLM],
    dtype: torch.dtype,
    device: str,
) -> TaskModel:
    """A task on the unit LM that prompts share; a fine-tuned LM has its own."""
    shared = one.described.get("method") == "prompt"
    key = (one.unit_lm_sha256, dtype)
    lm = lms.get(key) if shared else None
    lm = lm or load_lm(one.unit_lm, codebook_sha256, dtype, device)
    if shared:
        lms[key] = lm
    return attach_prompt(one.prompt, lm, one.unit_lm)


def _refusal(task: _Task, found: Heard) -> str | None:
    """Why a task cannot answer a recording, if so."""
    if isinstance(found, AudioError):
        return found.reason
    if isinstance(found, SpeechPromptError):
        return str(found)
    try:
        answer_room(task.model, found, task.decoding.max_length)
    except SpeechPromptError as error:
        return str(error)
    return None


def _windows(
    files: Iterable[Path | AudioError], is_waiting: Callable[[], bool]
) -> Iterator[tuple[list[str], list[Heard]]]:
    """Read recordings until there are minutes of audio, or the next has yet to come."""
    names: list[str] = []
    heard: list[Heard] = []
    n_samples = 0
    for file in files:
        names.append(str(file.path if isinstance(file, AudioError) else file))
        heard.append(file if isinstance(file, AudioError) else _read(file))
        n_samples += len(heard[-1]) if isinstance(heard[-1], np.ndarray) else 0
        full = n_samples >= WINDOW_SECONDS * SAMPLE_RATE or len(names) == WINDOW_FILES
        if full or is_waiting():
            yield names, heard
            names, heard, n_samples = [], [], 0
    if names:
        yield names, heard


def _read(file: Path) -> Heard:
    try:
        seconds = soundfile.info(file).duration
    except (soundfile.LibsndfileError, OSError, TypeError):
        seconds = 0.0  # the reader knows better why
    if WINDOW_SECONDS < seconds < 2**32:
        return AudioError(
            file, f"{seconds:.0f} s long; an utterance has at most {WINDOW_SECONDS:.0f} s"
        )
    try:
        return read_audio(file)
    except AudioError as error:
        return error
