"""What every training has around its loop: what it computes on, what it writes, its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprompt.config.fields import Block, Precision
from speechprompt.runtime.device import make_deterministic, resolve_device, set_compute_threads
from speechprompt.runtime.precision import resolve_precision
from speechprompt.storage.code_digest import digest
from speechprompt.storage.parquet import write_parquet
from speechprompt.training.result import CurvePoint, TrainingResult, curve_table

if TYPE_CHECKING:
    import torch

__all__ = ["Computation", "TrainingFiles", "fingerprint"]


@dataclass(frozen=True)
class Computation:
    """What a training computes on.

    Attributes:
        device: cpu, cuda or auto.
        threads: numeric threads; results may depend on their number in the last bits.
    """

    device: str = "cpu"
    threads: int = 2

    def start(self, precision: Precision = "fp32") -> tuple[str, torch.dtype]:
        """Fix the threads and the order of sums; return the device and the number type.

        Raises:
            ConfigError: ``cuda`` is asked for on a machine without one.
        """
        set_compute_threads(self.threads)
        device = resolve_device(self.device)
        make_deterministic(device)
        return device, resolve_precision(precision, device)


@dataclass(frozen=True)
class TrainingFiles:
    """Files that a training writes.

    Attributes:
        model: what was trained.
        curve: learning curve; None writes none.
        checkpoint: state that a killed training resumes from, deleted at the end; None keeps none.
        checkpoint_seconds: least time between two writes of it.
    """

    model: str | Path
    curve: str | Path | None = None
    checkpoint: str | Path | None = None
    checkpoint_seconds: float = 30.0

    @classmethod
    def resumable(cls, model: str | Path, curve: str | Path) -> TrainingFiles:
        """The files of a training whose checkpoint is beside the model, under a hidden name.

        Args:
            model: model to write.
            curve: learning curve to write.
        """
        model = Path(model)
        return cls(model, curve, model.with_name(f".{model.stem}.checkpoint.safetensors"))

    def finish(
        self,
        result: TrainingResult,
        save: Callable[[str | Path], None],
        columns: Sequence[str] = CurvePoint._fields,
    ) -> None:
        """Write the curve and the model; only then the checkpoint is no longer needed."""
        if self.curve is not None:
            write_parquet(self.curve, curve_table(result.curve, columns))
        save(self.model)
        if self.checkpoint is not None:
            Path(self.checkpoint).unlink(missing_ok=True)


def fingerprint(
    train: Callable[..., TrainingResult],
    settings: Block,
    computation: Computation,
    data: Mapping[str, Any],
    arrays: Iterable[Sequence[int] | np.ndarray] = (),
    modules: Iterable[str] = (),
) -> str:
    """A hash of all that a training depends on, so that a checkpoint of another one is known.

    Args:
        train: function of the training, whose code counts with all that it reaches.
        settings: block of the training.
        computation: what it computes on.
        data: the seed and what the training reads, as JSON values, such as hashes of files.
        arrays: sequences of integers that it reads, in order.
        modules: modules of the package that it chooses by name, such as ``encoders.mfcc``.
    """
    module = train.__module__.removeprefix("speechprompt.")
    told = {
        "code": digest(f"{module}:{train.__name__}", *modules),
        "settings": settings.model_dump(mode="json"),
        **asdict(computation),
        **data,
    }
    result = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for array in arrays:
        numbers = np.asarray(array, np.int64)
        result.update(len(numbers).to_bytes(8) + numbers.tobytes())
    return result.hexdigest()
