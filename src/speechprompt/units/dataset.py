"""Units files as pandas' data frames, and as datasets of torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset

from speechprompt.errors import ArtefactError, nearest
from speechprompt.storage.parquet import read_parquet
from speechprompt.units.unit_files import read_units

__all__ = ["UnitsDataset", "read_frame"]

PADDING = -1


def read_frame(path: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read the units of a split or of a shard.

    Args:
        path: folder or index.json of a split, or a Parquet file of units.
        columns: columns to read; None reads all.

    Raises:
        ArtefactError: a file is missing or damaged, or has no such column.
    """
    return _read(Path(path), columns).to_pandas()


def _read(path: Path, columns: Sequence[str] | None) -> pa.Table:
    index = path / "index.json" if path.is_dir() else path
    if not index.is_file():
        raise ArtefactError(
            f"{path}: expected the folder of a split, its index.json, or a Parquet file of units"
        )
    table = read_units(index) if index.suffix == ".json" else read_parquet(index)
    if "units" not in table.column_names:
        raise ArtefactError(f"{index}: expected units, found {', '.join(table.column_names)}")
    for name in columns or ():
        if name not in table.column_names:
            close = nearest(name, table.column_names) or ";"
            known = ", ".join(table.column_names)
            raise ArtefactError(f"{index}: no column {name!r}{close} columns: {known}")
    return table.select(list(columns)) if columns else table


class UnitsDataset(Dataset):
    """Utterances as units, for torch's loaders.

    Example:

        from torch.utils.data import DataLoader

        data = UnitsDataset("results/units/nano100/keywords/train", label="label")
        for batch in DataLoader(data, batch_size=32, collate_fn=data.collate):
            batch["units"], batch["labels"]

    Args:
        path: folder or index.json of a split, or a Parquet file of units.
        label: label column whose values are numbered; None has no labels.
        classes: values of the label column in order, such as those of the train split; by default
            its own, sorted.

    Attributes:
        classes: values of the label column in the order of their numbers.
    """

    def __init__(
        self, path: str | Path, label: str | None = None, classes: Sequence[str] = ()
    ) -> None:
        names = ["utt_id", "units", *([label] if label else [])]
        table = _read(Path(path), names)
        self.path, self.label = Path(path), label
        self.utt_ids: list[str] = table["utt_id"].to_pylist()
        self.units = [np.asarray(row, np.int64) for row in table["units"].to_pylist()]
        values = table[label].to_pylist() if label else []
        self.classes = list(classes) or sorted({value for value in values if value is not None})
        if unknown := set(values) - set(self.classes):
            raise ArtefactError(f"{path}: label {unknown.pop()!r} is none of the classes")
        number = {value: i for i, value in enumerate(self.classes)}
        self.labels = [number[value] for value in values]

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, i: int) -> dict[str, Any]:
        """Name, units ``[n]`` and, with a label column, the number of the label."""
        item: dict[str, Any] = {
            "utt_id": self.utt_ids[i],
            "units": torch.from_numpy(self.units[i]),
        }
        return item | ({"label": self.labels[i]} if self.label else {})

    @staticmethod
    def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Join items: ``utt_ids``, ``units`` ``[B, T]`` padded with -1, ``lengths``, ``labels``."""
        units: list[Tensor] = [item["units"] for item in items]
        batch: dict[str, Any] = {
            "utt_ids": [item["utt_id"] for item in items],
            "units": torch.nn.utils.rnn.pad_sequence(units, True, PADDING),
            "lengths": torch.tensor([len(row) for row in units]),
        }
        if items and "label" in items[0]:
            batch["labels"] = torch.tensor([item["label"] for item in items])
        return batch

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes of {self.label}" if self.label else ""
        return f"<UnitsDataset {self.path}: {len(self)} utterances{classes}>"
