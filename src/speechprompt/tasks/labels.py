"""The labels of a classification task: one or several columns, every (column, value) one label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from speechprompt.errors import CorpusError
from speechprompt.tasks.examples import Examples
from speechprompt.units import read_units

__all__ = ["LabelSpace", "read_examples", "read_label_space"]


@dataclass(frozen=True)
class LabelSpace:
    """Label values per column; indices run on from column to column (paper, section 3.2).

    Intent classification: action 0-5, object 6-19, location 20-23. Position i of an answer is a
    label of column i.
    """

    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]

    @classmethod
    def from_train(cls, table: pa.Table, columns: Sequence[str], origin: str) -> LabelSpace:
        """Collect the values of each column in order of first appearance in train.

        Raises:
            CorpusError: a column is missing or has an empty value; ``origin`` names the file.
        """
        values = []
        for column in columns:
            _require_column(table, column, origin)
            found = dict.fromkeys(table[column].to_pylist())
            if None in found or "" in found:
                raise CorpusError(f"{origin}: label column {column!r} has an empty value")
            values.append(tuple(found))
        return cls(tuple(columns), tuple(values))

    @property
    def names(self) -> list[str]:
        """One name per label index; with several columns ``column=value``."""
        if len(self.columns) == 1:
            return list(self.values[0])
        pairs = zip(self.columns, self.values, strict=True)
        return [f"{column}={value}" for column, values in pairs for value in values]

    @property
    def allowed(self) -> list[list[int]]:
        """Label indices allowed at each position of the answer."""
        result, start = [], 0
        for values in self.values:
            result.append(list(range(start, start + len(values))))
            start += len(values)
        return result

    def encode(self, table: pa.Table, origin: str) -> list[list[int]]:
        """Label indices of every row.

        Raises:
            CorpusError: a row has a label that train never had; ``origin`` names the file.
        """
        encoded = []
        for column, indices, values in zip(self.columns, self.allowed, self.values, strict=True):
            _require_column(table, column, origin)
            index = dict(zip(values, indices, strict=True))
            rows = table[column].to_pylist()
            unknown = next((i for i, value in enumerate(rows) if value not in index), None)
            if unknown is not None:
                raise CorpusError(
                    f"{origin}: utterance {table['utt_id'][unknown].as_py()!r} has {column} "
                    f"{rows[unknown]!r}, which train never had; train has: {', '.join(values)}"
                )
            encoded.append([index[value] for value in rows])
        return [list(row) for row in zip(*encoded, strict=True)]

    def decode(self, indices: Sequence[int]) -> list[str]:
        """The label values behind an answer's indices, one per column."""
        pairs = zip(indices, self.allowed, self.values, strict=True)
        return [values[index - allowed[0]] for index, allowed, values in pairs]


def _require_column(table: pa.Table, column: str, origin: str) -> None:
    if column not in table.column_names:
        known = ", ".join(table.column_names)
        raise CorpusError(f"{origin}: no label column {column!r}; columns: {known}")


def read_label_space(index: str | Path, columns: Sequence[str]) -> LabelSpace:
    """The label space that a train split defines."""
    return LabelSpace.from_train(read_units(index), columns, str(index))


def read_examples(index: str | Path, space: LabelSpace) -> Examples:
    """Read a split's units and label indices.

    Raises:
        CorpusError: a label column is missing, or has a value that train never had.
    """
    table = read_units(index)
    return Examples(
        utt_ids=table["utt_id"].to_pylist(),
        units=[np.asarray(row, dtype=np.int64) for row in table["units"].to_pylist()],
        labels=space.encode(table, str(index)),
    )
