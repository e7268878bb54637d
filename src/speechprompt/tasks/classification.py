"""Labels of a classification: one or several columns, whose values are the labels."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar, Self

import pyarrow as pa

from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import log
from speechprompt.units.unit_files import read_column

__all__ = ["COLUMN_SEPARATOR", "Classification", "split_answer"]

COLUMN_SEPARATOR = " | "


@dataclass(frozen=True)
class Classification:
    """Label values per column; indices run on from column to column (paper, section 3.2).

    In intent classification the action has 0-5, the object 6-19 and the location 20-23. Position i
    of an answer is a label of column i. In writing, an answer is its values in the order of the
    columns, with ``COLUMN_SEPARATOR`` between them.
    """

    type: ClassVar[str] = "classification"
    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]

    @classmethod
    def from_train(cls, table: pa.Table, columns: Sequence[str], origin: str) -> Self:
        """Collect the values of each column in order of first appearance in train.

        Raises:
            CorpusError: a column is missing, has one value only, or has a value that is empty or
                holds ``COLUMN_SEPARATOR``; ``origin`` names the file.
        """
        values = []
        for column in columns:
            read = read_column(table, column, origin)
            found = dict.fromkeys(value for value in read if value)
            if not all(read):
                raise CorpusError(f"{origin}: label column {column!r} has an empty value")
            if len(found) == 1:
                raise CorpusError(
                    f"{origin}: label column {column!r} has the same value "
                    f"{next(iter(found))!r} in all of train; a classification needs two, so list "
                    "more or leave the column out"
                )
            # A mark at either end of a label would join a separator.
            several = len(columns) > 1
            wrong = next((v for v in found if several and COLUMN_SEPARATOR in f" {v} "), None)
            if wrong is not None:
                raise CorpusError(
                    f"{origin}: {column} {wrong!r}: a label must not hold {COLUMN_SEPARATOR!r}"
                )
            values.append(tuple(found))
            _warn_of_look_alikes(column, found)
        return cls(tuple(columns), tuple(values))

    @property
    def names(self) -> list[str]:
        """The name of each label index; with several columns it is ``column=value``."""
        if len(self.columns) == 1:
            return list(self.values[0])
        pairs = zip(self.columns, self.values, strict=True)
        return [f"{column}={value}" for column, values in pairs for value in values]

    @property
    def allowed(self) -> list[list[int]]:
        """Label indices allowed at each position of the answer."""
        ends = accumulate(map(len, self.values))
        pairs = zip(ends, self.values, strict=True)
        return [list(range(end - len(values), end)) for end, values in pairs]

    def references(self, table: pa.Table, origin: str) -> list[str]:
        """The reference of every row, in writing.

        Raises:
            CorpusError: a row has a label that train never had; ``origin`` names the file.
        """
        found = []
        for column, values in zip(self.columns, self.values, strict=True):
            rows = read_column(table, column, origin)
            unknown = next((i for i, value in enumerate(rows) if value not in values), None)
            if unknown is not None:
                raise CorpusError(
                    f"{origin}: utterance {table['utt_id'][unknown].as_py()!r} has {column} "
                    f"{rows[unknown]!r}, which train never had; train has: {', '.join(values)}"
                )
            found.append(rows)
        return [self._write(row) for row in zip(*found, strict=True)]

    def encode(self, answer: str) -> list[int]:
        """Label indices of an answer in writing."""
        parts = split_answer(answer, len(self.columns))
        triples = zip(parts, self.values, self.allowed, strict=True)
        return [allowed[values.index(part)] for part, values, allowed in triples]

    def unknown(self, answer: str) -> list[str]:
        """The labels of an answer that train never had."""
        pairs = zip(split_answer(answer, len(self.columns)), self.values, strict=True)
        return [repr(part) for part, values in pairs if part not in values]

    def decode(self, indices: Sequence[int]) -> str:
        """The answer behind label indices, in writing; empty where they are not valid."""
        if len(indices) != len(self.columns):
            return ""
        triples = list(zip(indices, self.allowed, self.values, strict=True))
        if any(index not in allowed for index, allowed, _ in triples):
            return ""
        return self._write([values[index - allowed[0]] for index, allowed, values in triples])

    def state(self) -> dict[str, Any]:
        """What :func:`~speechprompt.tasks.labels.restore_labels` needs."""
        return {"type": self.type, "columns": self.columns, "values": self.values}

    def _write(self, values: Sequence[str]) -> str:
        return COLUMN_SEPARATOR.join(values)


def split_answer(answer: str, n_columns: int) -> list[str]:
    """The label of each column of an answer in writing, empty where it has none.

    A label may hold ``COLUMN_SEPARATOR`` where there is one column.
    """
    found = answer.split(COLUMN_SEPARATOR, n_columns - 1)
    return found + [""] * (n_columns - len(found))


def _warn_of_look_alikes(column: str, labels: Iterable[str]) -> None:
    """Say that two labels differ in capitals, blanks, forms or invisible characters only."""
    seen: dict[str, str] = {}
    for label in labels:
        shown = unicodedata.normalize("NFKC", label).casefold()
        shown = "".join(c for c in shown if unicodedata.category(c) != "Cf")
        first = seen.setdefault(" ".join(shown.split()), label)
        if first != label:
            log(f"warning: {column} {first!a} and {label!a} are two labels")
