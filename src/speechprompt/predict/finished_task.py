"""A finished task as an object: labels, settings and scores, and its encoder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from speechprompt.encoders import load_encoder
from speechprompt.evaluation.scores import Metrics
from speechprompt.evaluation.standing import Standing
from speechprompt.predict.enrolment import load_shipped_encoder
from speechprompt.predict.predictor import Predictor
from speechprompt.predict.task_folder import TaskFolder, open_task
from speechprompt.runtime.device import resolve_device
from speechprompt.storage.files import content_of
from speechprompt.tasks.labels import restore_labels
from speechprompt.units.codebook import check_codebook, load_codebook
from speechprompt.units.encoding import UnitEncoder
from speechprompt.units.feature_files import FeatureMetadata

__all__ = ["FinishedTask", "load_encoder_of"]


@dataclass(frozen=True)
class FinishedTask:
    """A finished task.

    Attributes:
        name: name of the task.
        folder: its folder.
        type: classification, transcription or slot_filling.
        method: prompt or finetune.
        labels: names of the labels.
        trainable_parameters: how many numbers were trained.
        training: how the training went.
        metrics: its scores; None where nothing was held out to measure them.
        files: its models, verified by hash.
    """

    name: str
    folder: Path
    type: str
    method: str
    labels: list[str]
    trainable_parameters: int
    training: dict[str, Any] = field(repr=False)
    metrics: Metrics | None = field(repr=False)
    files: TaskFolder = field(repr=False)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load a task.

        Raises:
            ArtefactError: the folder is not that of a finished task, or a file is damaged.
        """
        opened = open_task(folder)
        scores = opened.folder / "metrics.json"
        with content_of(opened.prompt):
            about = opened.described
            labels = restore_labels(about["answers"])
            return cls(
                opened.task,
                *(opened.folder, labels.type, about["method"], labels.names),
                trainable_parameters=about["trainable_parameters"],
                training=about["training"],
                metrics=Metrics.read(scores) if scores.is_file() else None,
                files=opened,
            )

    @property
    def standing(self) -> Standing | None:
        """The main score beside the strongest baseline."""
        return None if self.metrics is None else Standing.of(self.metrics)

    def predictor(self, **settings: Any) -> Predictor:
        """What answers new audio; settings are those of ``load_predictor``."""
        return Predictor.load(self.folder, **settings)

    def __repr__(self) -> str:
        found = self.standing
        score = f", {found.metric} {found.written()}" if found else ""
        what = f"{self.type} with {len(self.labels)} labels"
        return f"<Task {self.name}: {what}{score}, {self.trainable_parameters:,} parameters>"


def load_encoder_of(
    task: str | Path | None, *, weights: str | Path | None = None, device: str = "auto"
) -> UnitEncoder:
    """Load the encoder of a task, with its codebook.

    Args:
        task: folder of the task; None is the encoder that ships for real recordings.
        weights: the encoder's weights, if they have been moved.
        device: cpu, cuda or auto.

    Raises:
        ArtefactError: a file is missing, or is not the one of the training.
        ConfigError: ``cuda`` is asked for on a machine without one.
    """
    device = resolve_device(device)
    if task is None:
        return load_shipped_encoder(device)
    opened = open_task(task, weights)
    with content_of(opened.folder):
        encoder, codebook = (
            load_encoder(**opened.encoder, device=device),
            load_codebook(opened.codebook),
        )
        check_codebook(codebook, FeatureMetadata.of(encoder), f"the encoder of {opened.folder}")
    return UnitEncoder(encoder, codebook, opened.deduplicate)
