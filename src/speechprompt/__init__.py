"""SpeechPrompt: prompt tuning of a frozen generative spoken language model.

Method: "An Exploration of Prompt Tuning on Generative Spoken Language Model for Speech Processing
Tasks" (Chang et al., Interspeech 2022). docs/library.md shows the functions here in use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from speechprompt.predict.finished_task import FinishedTask
    from speechprompt.predict.predictor import Predictor
    from speechprompt.units.encoding import UnitEncoder

__version__ = "0.2.0"
__all__ = [
    "__version__",
    "load_encoder",
    "load_predictor",
    "load_task",
    "load_units",
    "train_prompt",
]

# Classes by their names here, which are imported when they are wanted.
_CLASSES = {
    "Encoder": "units.encoding:UnitEncoder",
    "Predictor": "predict.predictor:Predictor",
    "UnitsDataset": "units.dataset:UnitsDataset",
}


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, found = _CLASSES[name].partition(":")
    return getattr(import_module(f"speechprompt.{module}"), found)


def load_predictor(
    *folders: str | Path,
    weights: str | Path | None = None,
    device: str = "auto",
    threshold: float = 0.0,
) -> Predictor:
    """Load tasks of a finished run to answer new audio.

    Example:

        from speechprompt import load_predictor

        answers = load_predictor("results/ks").predict(["a.wav", "b.flac"])

    Args:
        folders: folders of the tasks, such as ``results/ks``.
        weights: the encoder's weights, if they have been moved.
        device: cpu, cuda or auto.
        threshold: an answer with a lower probability is ``none``.

    Raises:
        ArtefactError: a file is missing, or is not the one of the training.
        ConfigError: there is no folder, one is given twice, or the threshold is no probability.
    """
    from speechprompt.predict.predictor import Predictor

    return Predictor.load(*folders, weights=weights, device=device, threshold=threshold)


def load_encoder(
    task: str | Path | None = None, *, weights: str | Path | None = None, device: str = "auto"
) -> UnitEncoder:
    """Load an encoder with its codebook, which turns audio into units.

    Args:
        task: folder of a finished task, whose encoder it is; by default the one that ships
            for real recordings.
        weights: the encoder's weights, if they have been moved.
        device: cpu, cuda or auto.

    Raises:
        ArtefactError: a file is missing, or is not the one of the training.
        ConfigError: ``cuda`` is asked for on a machine without one.
    """
    from speechprompt.predict.finished_task import load_encoder_of

    return load_encoder_of(task, weights=weights, device=device)


def load_task(folder: str | Path) -> FinishedTask:
    """Load what is known of a finished task: its labels, settings and scores.

    Args:
        folder: the task's folder, such as ``results/ks``.

    Raises:
        ArtefactError: the folder is not that of a finished task, or a file is damaged.
    """
    from speechprompt.predict.finished_task import FinishedTask

    return FinishedTask.load(folder)


def load_units(path: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Load the units of a split or of one shard; ``UnitsDataset`` is a dataset of torch.

    Args:
        path: folder or index.json of a split, or a Parquet file of units.
        columns: columns to read; all by default.

    Returns:
        A row for each utterance: ``utt_id``, ``units`` and ``durations`` as arrays, ``n_frames``,
        ``speaker`` and the labels.

    Raises:
        ArtefactError: a file is missing or damaged, or has no such column.
    """
    from speechprompt.units.dataset import read_frame

    return read_frame(path, columns)


def train_prompt(
    recordings: Mapping[str, str | Path | Iterable[Any]],
    out: str | Path,
    *,
    rate: int | None = None,
    task: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 1,
    device: str = "auto",
    threads: int = 2,
) -> FinishedTask:
    """Train a prompt on labelled recordings, without Snakemake, with the models that ship.

    Args:
        recordings: recordings of each label: a folder of them, or several as paths, file objects,
            arrays or tensors. Five of each are enough.
        out: folder of the task to write.
        rate: sample rate of arrays and tensors in Hz.
        task: name of the task; by default that of the folder.
        settings: settings of the task that differ from those for few recordings, as in
            docs/configuration.md, such as ``{"training": {"max_epochs": 20}}``.
        seed: seed of the training.
        device: cpu, cuda or auto.
        threads: numeric threads.

    Returns:
        The finished task.

    Raises:
        ArtefactError: the folder holds something else than an earlier enrolment.
        ConfigError: fewer than two labels, or wrong settings.
        CorpusError: a label has no recordings, or a recording cannot be used.
    """
    from speechprompt.predict.finished_task import FinishedTask
    from speechprompt.predict.program import train_on_audio
    from speechprompt.training.job import Computation

    computation = Computation(device, threads)
    train_on_audio(
        recordings, out, rate=rate, task=task, settings=settings, seed=seed, computation=computation
    )
    return FinishedTask.load(out)
