"""Answers to new audio from tasks of a finished run, several in one pass.

Audio is read once and encoded once, whatever the number of tasks. Tasks on one unit LM share it and
their batches. Units and answers are those of the pipeline. On a processor, scores are the same bits
for the same number of threads and the same batches; other utterances in a batch may change their
last bits.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from speechprompt.audio.paths import recordings_at
from speechprompt.audio.reading import AudioError, read_audio
from speechprompt.audio.speed import with_renditions
from speechprompt.audio.waveforms import WAVEFORM, Audio, as_waveform, is_samples, waveform_blocks
from speechprompt.config.tasks import DecodingSettings
from speechprompt.encoders import load_encoder
from speechprompt.encoders.base import Encoder, encode_in_batches
from speechprompt.errors import ConfigError, SpeechPromptError
from speechprompt.lm.artefact import LoadedLM, load_lm
from speechprompt.predict.answer import NONE, Answer, write_answer
from speechprompt.predict.task_folder import open_task
from speechprompt.prompting.calibration import checked_temperature
from speechprompt.prompting.decoding import Question, answer_room, predict_together
from speechprompt.prompting.task_file import attach_prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.runtime.device import resolve_device
from speechprompt.runtime.precision import resolve_precision
from speechprompt.storage.files import content_of
from speechprompt.tasks.labels import Labels, restore_labels
from speechprompt.units.codebook import check_codebook, load_codebook
from speechprompt.units.encoding import EncodedUnits, UnitEncoder
from speechprompt.units.extraction import in_windows
from speechprompt.units.feature_files import FeatureMetadata

if TYPE_CHECKING:
    from speechprompt.predict.windows import Segment

__all__ = ["Predictor"]

WINDOW_FILES = 1024
# An utterance is far longer or shorter than others by this factor.
FAR = 2
# Samples of a recording, or its units, or the error that stands in their place.
SamplesOrError = np.ndarray | SpeechPromptError
UnitsOrError = EncodedUnits | SpeechPromptError


@dataclass(frozen=True)
class _Task:
    """A task, ready to answer.

    Attributes:
        name: name of the task in its answers.
        model: unit LM and prompt.
        labels: labels of the task.
        decoding: how answers are found.
        units: how its units are made.
        speeds: further speeds that it hears a recording at.
        temperature: what calibrates its probabilities.
        trained_on: least and most units of an utterance that it was trained on, if they are known.
    """

    name: str
    model: TaskModel
    labels: Labels
    decoding: DecodingSettings
    units: UnitEncoder
    speeds: tuple[float, ...] = ()
    temperature: float = 1.0
    trained_on: tuple[int, int] | None = None

    def warning(self, n_units: int) -> str | None:
        """Say that an utterance is far longer or shorter than those of the training."""
        if self.trained_on is None:
            return None
        low, high = self.trained_on
        if low <= n_units * FAR and n_units <= high * FAR:
            return None
        far, advice = "longer", "; cut it, or answer it in windows (--window)"
        if n_units < low:
            far, advice = "shorter", ""
        return (
            f"far {far} than what the task was trained on, {n_units} units and not {low} to {high}"
            f"{advice}"
        )


@dataclass
class Predictor:
    """Tasks of a finished run that answer new recordings.

    Example:

        predictor = Predictor.load("results/ks", "results/ic")
        for answer in predictor.predict(["a.wav", "b.flac"]):
            print(answer.file, answer.task, answer.answer, answer.probability)

    Attributes:
        encoders: encoders by hash.
        units: how units are made, by hash of the codebook and whether repeats are collapsed.
        tasks: tasks in the order of their folders.
        threshold: an answer with a lower probability is ``none``.
    """

    encoders: dict[str, Encoder] = field(default_factory=dict)
    units: dict[tuple[str, bool], UnitEncoder] = field(default_factory=dict)
    tasks: list[_Task] = field(default_factory=list)
    threshold: float = 0.0

    def __repr__(self) -> str:
        tasks = ", ".join(f"{task.name} ({len(task.labels.names)} labels)" for task in self.tasks)
        return f"<Predictor: {tasks or 'no tasks'}>"

    @classmethod
    def load(
        cls,
        *folders: str | Path,
        weights: str | Path | None = None,
        device: str = "auto",
        threshold: float = 0.0,
    ) -> Self:
        """Load tasks. An encoder, codebook or unit LM that they share is loaded once.

        Args:
            folders: folders of the tasks, such as ``results/ks``.
            weights: the encoder's weights, if they have been moved.
            device: cpu, cuda or auto.
            threshold: an answer with a lower probability is ``none``.

        Raises:
            ArtefactError: a file is missing, or is not the one of the training.
            ConfigError: there is no folder, one is given twice, or the threshold is no probability.
        """
        if not 0 <= threshold <= 1:
            raise ConfigError(f"expected a threshold of 0 to 1, found {threshold:g}")
        if not folders:
            raise ConfigError("expected the folder of at least one task, such as results/ks")
        if len({Path(folder).resolve() for folder in folders}) < len(folders):
            raise ConfigError(f"expected each task once, found {' '.join(map(str, folders))}")
        device = resolve_device(device)
        opened = [open_task(folder, weights) for folder in folders]
        names = [one.task for one in opened]
        predictor = cls(threshold=threshold)
        encoders: dict[str, Encoder] = {}
        lms: dict[tuple[object, torch.dtype], LoadedLM] = {}
        for one in opened:
            with content_of(one.folder):
                settings = json.dumps(one.encoder, sort_keys=True)
                if settings not in encoders:
                    encoder = load_encoder(**one.encoder, device=device)
                    encoders[settings] = predictor.encoders.setdefault(encoder.sha256, encoder)
                encoder, codebook = encoders[settings], load_codebook(one.codebook)
                check_codebook(
                    codebook, FeatureMetadata.of(encoder), f"the encoder of {one.folder}"
                )
                units = predictor.units.setdefault(
                    (codebook.sha256, one.deduplicate),
                    UnitEncoder(encoder, codebook, one.deduplicate),
                )
                decoding = DecodingSettings(**one.decoding)
                dtype = resolve_precision(decoding.precision, device)
                name = one.task if names.count(one.task) == 1 else str(one.folder)
                # A prompt shares its unit LM. A fine-tuned LM overwrites it.
                is_prompt = one.described.get("method") == "prompt"
                key = (one.unit_lm_sha256 if is_prompt else one.folder, dtype)
                if key not in lms:
                    lms[key] = load_lm(one.unit_lm, codebook.sha256, dtype, device)
                model = attach_prompt(one.prompt, lms[key], one.unit_lm)
                labels = restore_labels(one.described["answers"])
                trained_on = one.described.get("training", {}).get("units")
                # Answers in steps are to the recording alone, which need not be heard again then.
                speeds = tuple(one.speeds) if Question(model, (), decoding).n_columns else ()
                task = _Task(
                    *(name, model, labels, decoding, units, speeds),
                    temperature=checked_temperature(one.described.get("temperature")),
                    trained_on=trained_on and (int(trained_on[0]), int(trained_on[1])),
                )
                predictor.tasks.append(task)
        return predictor

    def predict(self, audio: Audio | Iterable[Audio], rate: int | None = None) -> list[Answer]:
        """Answer recordings.

        Args:
            audio: a recording or several: paths, of which folders stand for all audio below them,
                file objects, or samples as arrays or tensors, see
                ``speechprompt.audio.waveforms.as_waveform``.
            rate: sample rate of samples in Hz; files have their own.

        Returns:
            Answers in the order of the recordings, and for each recording in the order of the
            tasks. A recording that cannot be used has answers whose ``error`` says why.
        """
        single = isinstance(audio, str | Path) or is_samples(audio) or hasattr(audio, "read")
        found = (one for given in ([audio] if single else audio) for one in _named(given, rate))
        return [answer for block in self._answer_in_blocks(found) for answer in block]

    def find(
        self,
        audio: Audio,
        rate: int | None = None,
        *,
        window: float = 1.0,
        hop: float = 0.25,
        silence: float = 30.0,
    ) -> list["Segment"]:
        """Answer a recording of any length in windows.

        Args:
            audio: a path, a file object, or samples as an array or a tensor.
            rate: sample rate of samples in Hz.
            window: length of a window in seconds.
            hop: seconds from one window to the next.
            silence: what is so many decibels quieter than the loudest is a pause; 0 knows none.

        Raises:
            AudioError: the recording cannot be used.
            ConfigError: impossible windows.
        """
        from speechprompt.predict.windows import Windows, find_segments

        name = str(audio) if isinstance(audio, str | Path) else WAVEFORM
        blocks = waveform_blocks(audio, rate, name)
        return list(find_segments(self, blocks, Windows(window, hop, silence), name))

    def stream(
        self,
        files: Iterable[Path | AudioError],
        is_waiting: Callable[[], bool] = lambda: False,
    ) -> Iterator[list[Answer]]:
        """Do ``predict`` in blocks of a few minutes of audio, so that memory does not grow.

        Args:
            files: recordings, or the error that stands in the place of one.
            is_waiting: whether the next of ``files`` is not there yet. Then those that are there
                are answered first.
        """
        yield from self._answer_in_blocks(map(_read, files), is_waiting)

    def _answer_in_blocks(
        self,
        recordings: Iterable[tuple[str, SamplesOrError]],
        is_waiting: Callable[[], bool] = lambda: False,
    ) -> Iterator[list[Answer]]:
        """Answer named recordings in blocks of a few minutes of audio."""
        for names, read in in_windows(recordings, lambda n: n == WINDOW_FILES or is_waiting()):
            yield self.answer(names, read)

    def answer(self, names: Sequence[str], recordings: Sequence[SamplesOrError]) -> list[Answer]:
        """Answer recordings that have been read, by all tasks.

        Args:
            names: name of each recording.
            recordings: samples of each, float32 ``[n_samples]`` at 16 kHz, or the error that stands
                in their place.
        """
        return self.answer_units(names, self.quantise(recordings))

    def answer_units(
        self, names: Sequence[str], units: Mapping[UnitEncoder, Sequence[UnitsOrError]]
    ) -> list[Answer]:
        """Do ``answer`` with what ``quantise`` has made of the recordings."""
        answers: dict[tuple[int, int], Answer] = {}
        usable: list[list[int]] = []  # numbers of the recordings that each task answers
        questions = []
        for number, task in enumerate(self.tasks):
            rows: dict[int, EncodedUnits] = {}
            for i, found in enumerate(units[task.units]):
                try:
                    if isinstance(found, SpeechPromptError):
                        raise found
                    answer_room(task.model, found.units, task.decoding.max_length)
                    rows[i] = found
                except SpeechPromptError as error:
                    reason = error.reason if isinstance(error, AudioError) else str(error)
                    answers[i, number] = Answer(names[i], task.name, error=reason)
            usable.append(list(rows))
            heard = [found.units for found in rows.values()]
            played = [[found.renditions[s] for s in task.speeds] for found in rows.values()]
            questions.append(Question(task.model, heard, task.decoding, renditions=played))
        for number, predictions in enumerate(predict_together(questions)):
            task = self.tasks[number]
            for row, i in enumerate(usable[number]):
                answer = write_answer(
                    names[i], task.name, task.labels, predictions, row, task.temperature
                )
                warning = task.warning(len(questions[number].units[row]))
                answers[i, number] = replace(self._judged(answer), warning=warning)
        return [answers[key] for key in sorted(answers)]

    def _judged(self, answer: Answer) -> Answer:
        """The answer, or ``none`` if it is not sure enough."""
        if answer.probability is None or answer.probability >= self.threshold:
            return answer
        return replace(answer, answer=NONE, labels=None, slots=None)

    def quantise(
        self, recordings: Sequence[SamplesOrError]
    ) -> dict[UnitEncoder, list[UnitsOrError]]:
        """Quantise recordings in all ways; each encoder encodes each recording once."""
        speeds = sorted({speed for task in self.tasks for speed in task.speeds})
        samples = [one for one in recordings if isinstance(one, np.ndarray)]
        played = [each for one in samples for each in with_renditions(one, speeds)]
        waveforms = [torch.from_numpy(one) for one in played]
        frames = {
            sha256: [frame.numpy() for frame in encode_in_batches(encoder, waveforms)]
            for sha256, encoder in self.encoders.items()
        }
        found: dict[UnitEncoder, list[UnitsOrError]] = {}
        for units in self.units.values():
            quantised = iter(units.quantise(frames[units.encoder.sha256], speeds))
            found[units] = [
                one if isinstance(one, SpeechPromptError) else next(quantised) for one in recordings
            ]
        return found


def _named(given: Audio, rate: int | None) -> Iterator[tuple[str, SamplesOrError]]:
    """Names and samples of a recording, or of those in a folder."""
    if isinstance(given, str | Path):
        yield from map(_read, recordings_at(given))
        return
    try:
        yield WAVEFORM, as_waveform(given, rate)
    except AudioError as error:
        yield WAVEFORM, error


def _read(file: Path | AudioError) -> tuple[str, SamplesOrError]:
    """Name and samples of a file, or the error that stands in its place."""
    if isinstance(file, AudioError):
        return str(file.path), file
    try:
        return str(file), read_audio(file)
    except AudioError as error:
        return str(file), error
