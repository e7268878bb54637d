"""Training from what a program has: recordings in any form, by label."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.audio.paths import recordings_at
from speechprompt.audio.reading import AudioError
from speechprompt.audio.waveforms import as_waveform
from speechprompt.config import merge
from speechprompt.config.tasks import Task
from speechprompt.config.values import block_from_value
from speechprompt.predict.enrolment import few_recordings, train_on_recordings
from speechprompt.training.job import Computation
from speechprompt.training.result import TrainingResult

__all__ = ["train_on_audio"]


def train_on_audio(
    recordings: Mapping[str, str | Path | Iterable[Any]],
    out: str | Path,
    *,
    rate: int | None = None,
    task: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 1,
    computation: Computation | None = None,
) -> TrainingResult:
    """Train a prompt on labelled recordings; see :func:`speechprompt.train_prompt`."""
    named = {"" if label is None else str(label): found for label, found in recordings.items()}
    read = {label: _read(label, found, rate) for label, found in named.items()}
    prompt = (settings or {}).get("prompt")
    # A prompt of another shape is learnt from nothing.
    chosen = few_recordings(len(read), start=not prompt or "start" in prompt)
    if settings:
        merged = json.dumps(merge(chosen.model_dump(mode="json"), settings))
        chosen = block_from_value(merged, Task, "settings")
    name = task or Path(out).resolve().name
    return train_on_recordings(
        read, out, task=name, seed=seed, computation=computation, settings=chosen
    )


def _read(label: str, given: str | Path | Iterable[Any], rate: int | None) -> dict[str, np.ndarray]:
    """The waveforms of a label, with a name for each."""
    items = recordings_at(given) if isinstance(given, str | Path) else given
    found = {}
    for number, item in enumerate(items):
        if isinstance(item, AudioError):
            raise item
        name = f"{label}[{number}]"
        found[f"{name} {item}" if isinstance(item, str | Path) else name] = as_waveform(
            item, rate, name
        )
    return found
