"""Label columns of a units file or manifest."""

import pyarrow as pa

from speechprompt.errors import CorpusError

__all__ = ["read_column"]


def read_column(table: pa.Table, column: str, origin: str) -> list[str | None]:
    """The values of a label column.

    Raises:
        CorpusError: there is no such column; ``origin`` names the file.
    """
    if column not in table.column_names:
        known = ", ".join(table.column_names)
        raise CorpusError(f"{origin}: no label column {column!r}; columns: {known}")
    return table[column].to_pylist()
