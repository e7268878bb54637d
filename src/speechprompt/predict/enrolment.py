"""A task from a few recordings: a prompt that is made on the spot, with the shipped models.

It starts from the prompt that tells words apart, and is not trained further unless that is asked
for, so that it takes seconds.
"""

import os
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.audio.paths import audio_in_folder
from speechprompt.audio.reading import AudioError, read_audio
from speechprompt.audio.speed import SPEEDS
from speechprompt.config.setup import RESERVED_TASK_NAMES
from speechprompt.config.tasks import Task
from speechprompt.encoders import load_encoder
from speechprompt.errors import ArtefactError, ConfigError, CorpusError, SpeechPromptError, some_of
from speechprompt.models.shipped import SHIPPED, shipped_model
from speechprompt.predict.task_folder import MODEL, PROMPT, describe_model
from speechprompt.prompting.training import TaskData, train_prompt
from speechprompt.runtime.progress import log, progress
from speechprompt.storage.files import atomic_folder
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.examples import Examples
from speechprompt.training.job import Computation, TrainingFiles
from speechprompt.training.result import TrainingResult
from speechprompt.units.codebook import load_codebook
from speechprompt.units.encoding import UnitEncoder

__all__ = ["Recordings", "enrol", "few_recordings", "load_shipped_encoder", "train_on_recordings"]

# Waveforms of each label, float32 ``[n_samples]`` at 16 kHz, with the name of each.
Recordings = Mapping[str, Mapping[str, np.ndarray]]

ENCODER: dict[str, Any] = {"kind": "hubert", "layer": 4}
WEIGHTS, CODEBOOK = "hubert-nano.safetensors", "hubert-nano-100.safetensors"
UNIT_LM = "unit-lm-nano.safetensors"
START = "words-nano.safetensors"
ENOUGH = 5
# Utterances that an epoch draws for each label, and for all of them.
DRAWN, FEWEST_DRAWN, MOST_DRAWN = 50, 200, 1000


def enrol(
    folders: Sequence[Path],
    task: str,
    out: Path | None = None,
    *,
    seed: int = 1,
    computation: Computation | None = None,
) -> Path:
    """Train a task on a few recordings of each label, and write a folder that predict takes.

    Args:
        folders: a folder of recordings for each label, whose name is the label; five recordings
            are enough.
        task: name of the task.
        out: folder of the task to write; default results/TASK.
        seed: seed of the training.
        computation: device and threads.

    Returns:
        The folder of the task.

    Raises:
        ArtefactError: the folder holds something else.
        ConfigError: fewer than two labels, a label twice, or an impossible name of the task.
        CorpusError: a label has no recordings, or a recording cannot be used.
    """
    started = time.monotonic()
    out = _checked_place(task, out)
    recordings = _read_folders(folders)
    train_on_recordings(recordings, out, task=task, seed=seed, computation=computation)
    n = sum(map(len, recordings.values()))
    seconds = time.monotonic() - started
    log(f"{out}: {len(recordings)} labels from {n} recordings, {seconds:.0f} s")
    return out


def train_on_recordings(
    recordings: Recordings,
    out: str | Path,
    *,
    task: str,
    seed: int = 1,
    computation: Computation | None = None,
    settings: Task | None = None,
) -> TrainingResult:
    """Train a prompt on labelled waveforms with the shipped models, and write the task's folder.

    Args:
        recordings: waveforms of each label.
        out: folder of the task; that of an earlier enrolment is replaced as a whole.
        task: name of the task.
        seed: seed of the training.
        computation: device, and threads of the encoder; the training has one.
        settings: prompt and training; by default :func:`few_recordings`.

    Raises:
        ArtefactError: the folder holds something else.
        ConfigError: fewer than two labels, or an empty one.
        CorpusError: a label has no recordings, a recording has two labels, or it has no units.
    """
    _free(Path(out))
    computation = computation or Computation()
    _check_labels({label: len(found) for label, found in recordings.items()})
    _check_repeats(recordings)
    for label, found in recordings.items():
        if len(found) < ENOUGH:
            log(f"warning: {label!r} has {len(found)} recording(s); {ENOUGH} or more are better")
    settings = settings or few_recordings(len(recordings))
    device, _ = computation.start(settings.training.precision)
    encoder = load_shipped_encoder(device)
    examples = _examples(encoder, recordings)
    labels = Classification(("label",), (tuple(recordings),))
    # Few recordings are too few to hold some out.
    data = TaskData(labels, examples, examples, encoder.codebook.sha256)
    with atomic_folder(out) as folder:
        result = train_prompt(
            settings,
            data,
            shipped_model(UNIT_LM),
            TrainingFiles(folder / PROMPT),
            # Batches this small gain little by a second thread, and lose much where cores are busy.
            computation=replace(computation, threads=1),
            seed=seed,
            name=task,
            start=_start_file(settings),
        )
        describe_model(
            folder / MODEL,
            task=task,
            prompt=folder / PROMPT,
            unit_lm=shipped_model(UNIT_LM),
            codebook=shipped_model(CODEBOOK),
            encoder={**ENCODER, "weights": str(shipped_model(WEIGHTS))},
            decoding=settings.decoding,
            speeds=SPEEDS,
        )
    return result


def few_recordings(n_labels: int, *, start: bool = True) -> Task:
    """The settings for a few recordings of each of some labels.

    Args:
        n_labels: number of labels.
        start: whether the prompt starts from the one that ships, and is not trained further.
    """
    epochs = 0 if start else 8
    shape = {"start": START} if start else {"mode": "query", "length": 4, "members": 8}
    return Task.model_validate(
        {
            "corpus": "recordings",
            "lm": "nano",
            "balance": True,
            "verbalizer": "learnable",
            "prompt": {**shape, "dropout": 0.0},
            "training": {
                "epoch_size": min(max(DRAWN * n_labels, FEWEST_DRAWN), MOST_DRAWN),
                "batch_size": 16,
                "lr": 1e-3 if start else 0.01,
                "verbalizer_lr": 2e-4 if start else 2e-3,
                "warmup": 20,
                "max_epochs": epochs,
                "patience": 8,
                "unit_dropout": 0.3,
                "label_smoothing": 0.1,
            },
        }
    )


def _start_file(settings: Task) -> Path | None:
    start = settings.prompt.start
    if start is None:
        return None
    return shipped_model(start) if start in SHIPPED else Path(start)


def load_shipped_encoder(device: str = "cpu") -> UnitEncoder:
    """The encoder of units that ships: HuBERT-nano and its codebook."""
    encoder = load_encoder(**ENCODER, weights=shipped_model(WEIGHTS), device=device)
    return UnitEncoder(encoder, load_codebook(shipped_model(CODEBOOK)))


def _checked_place(task: str, out: Path | None) -> Path:
    """The folder to write, which must not hold anything but an earlier enrolment."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", task) or (out is None and task in RESERVED_TASK_NAMES):
        raise ConfigError(
            f"--task: a name has only letters, digits, '-' and '_' and is none of "
            f"{some_of(RESERVED_TASK_NAMES, 3)}; found {task!r}"
        )
    return _free(out or Path("results", task))


def _free(out: Path) -> Path:
    """A folder to write, which must not hold anything but an earlier enrolment."""
    if not out.exists():
        return out
    names = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    if not names <= {MODEL, PROMPT}:
        raise ArtefactError(
            f"{out}: expected no such folder, or one of an earlier enrolment, found "
            f"{some_of(sorted(names), 3)}; choose another one"
        )
    return out


def _read_folders(folders: Sequence[Path]) -> dict[str, dict[str, np.ndarray]]:
    """The recordings of each label.

    Raises:
        ConfigError: as :func:`enrol`.
        CorpusError: as :func:`enrol`.
    """
    names = [unicodedata.normalize("NFC", Path(os.path.abspath(folder)).name) for folder in folders]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"expected a folder for each label, found two for {repeated[0]!r}")
    if wrong := [folder for folder in folders if not folder.is_dir()]:
        what = "a file" if wrong[0].exists() else "nothing"
        raise ConfigError(f"{wrong[0]}: expected a folder with a label's recordings, found {what}")
    listed = {n: audio_in_folder(f) for n, f in zip(names, folders, strict=True)}
    _check_labels({label: len(found) for label, found in listed.items()})
    total = sum(map(len, listed.values()))
    files = progress(((n, f) for n, found in listed.items() for f in found), "read", total, "file")
    read: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
    unusable: list[AudioError] = []
    for label, file in files:
        try:
            if isinstance(file, AudioError):
                raise file
            read[label][str(file)] = read_audio(file)
        except AudioError as error:
            unusable.append(error)
    if unusable:
        raise CorpusError(
            f"{len(unusable)} of {total} recordings cannot be used: "
            f"{some_of(map(str, unusable), 3)}; repair them or take them out"
        )
    return read


def _check_repeats(recordings: Recordings) -> None:
    """Raise an error where one recording has two labels, which no prompt can learn."""
    first: dict[bytes, tuple[str, str]] = {}
    for label, found in recordings.items():
        for name, samples in found.items():
            other, place = first.setdefault(sha256(samples.tobytes()).digest(), (label, name))
            if other != label:
                raise CorpusError(f"{place} and {name} are one recording with two labels")


def _check_labels(counts: Mapping[str, int]) -> None:
    if len(counts) < 2:
        found = some_of(map(repr, counts))
        raise ConfigError(
            f"expected two labels or more, each with a folder of its own, found {found}; "
            "a word alone cannot be told from anything, so record others too"
        )
    if not all(label.strip() for label in counts):
        raise ConfigError("expected a text for each label, found an empty one")
    if empty := [label for label, count in counts.items() if not count]:
        raise CorpusError(f"label {empty[0]!r} has no recordings")


def _examples(encoder: UnitEncoder, recordings: Recordings) -> Examples:
    """The units of all recordings."""
    named = [
        (label, name, one) for label, found in recordings.items() for name, one in found.items()
    ]
    log(f"encoding {len(named)} recordings")
    encoded = encoder.encode_waveforms([one for _, _, one in named], SPEEDS)
    units, renditions = [], []
    for (_, name, _), found in zip(named, encoded, strict=True):
        if isinstance(found, SpeechPromptError):
            raise CorpusError(f"{name}: {found}")
        units.append(found.units.astype(np.int64))
        renditions.append([row.astype(np.int64) for row in found.renditions.values()])
    order = list(recordings)
    return Examples(
        utt_ids=[name for _, name, _ in named],
        units=units,
        labels=[[order.index(label)] for label, _, _ in named],
        references=[label for label, _, _ in named],
        renditions=renditions,
    )
