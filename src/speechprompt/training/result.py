"""How a training went: its learning curve, and the epoch whose parameters were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

__all__ = ["CurvePoint", "TrainingResult", "curve_table"]


class CurvePoint(NamedTuple):
    """One split after one epoch; the loss is in nats per predicted token."""

    epoch: int
    split: str
    loss: float
    accuracy: float
    lr: float


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        best_epoch: the epoch whose parameters were kept, from 1.
        epochs, updates: how many there were.
        valid_loss, valid_accuracy: after the best epoch; the loss is in nats per predicted token.
        trainable_parameters: how many numbers were trained.
        curve: train and valid after every epoch.
    """

    best_epoch: int
    epochs: int
    updates: int
    valid_loss: float
    valid_accuracy: float
    trainable_parameters: int
    curve: Sequence[CurvePoint] = field(repr=False)

    def summary(self) -> dict[str, int | float]:
        """All but the curve, for the metadata of the trained model."""
        return {name: value for name, value in vars(self).items() if name != "curve"}


def curve_table(
    curve: Sequence[CurvePoint], columns: Sequence[str] = CurvePoint._fields
) -> pa.Table:
    """Learning curve as a table, by default of every column."""
    types = {"epoch": pa.int32(), "split": pa.string()}
    return pa.table(
        {
            name: pa.array([getattr(point, name) for point in curve], types.get(name, pa.float64()))
            for name in columns
        }
    )
