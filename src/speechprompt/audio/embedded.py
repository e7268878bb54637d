"""Recordings inside a Parquet file, as the data sets of the Hugging Face hub have them.

A column holds a struct of ``bytes``, a whole file of audio, and ``path``, its name.
"""

import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from speechprompt.audio.places import Place

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["read_embedded"]

# Recordings are read in the order of their rows, by a few threads that are close to each other.
CACHED_GROUPS = 4
_reading = threading.Lock()


def read_embedded(place: Place) -> bytes:
    """Read the bytes of a recording; its row group is kept, as the next one is likely in it too.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has no such column or row, or there are no bytes.
    """
    assert place.row is not None
    assert place.column is not None
    status = os.stat(place.file)
    version = (status.st_size, status.st_mtime_ns)
    # One thread reads a group, and the others find it.
    with _reading:
        starts = _opened(place.file, version)[1]
        group = next((i for i, start in enumerate(starts[1:]) if place.row < start), None)
        if group is None:
            raise ValueError(f"has no row {place.row}, only {starts[-1]} from 0")
        cells = _group(place.file, version, place.column, group)
    content = cells[place.row - starts[group]].as_py()
    if content is None:
        raise ValueError("has no recording in this row")
    return content


@lru_cache(maxsize=CACHED_GROUPS)
def _opened(file: str, version: tuple[int, int]) -> tuple["pq.ParquetFile", list[int]]:
    """A file, and the first row of each group and the number of all rows."""
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file)
    starts = [0]
    for group in range(opened.num_row_groups):
        starts.append(starts[-1] + opened.metadata.row_group(group).num_rows)
    return opened, starts


@lru_cache(maxsize=CACHED_GROUPS)
def _group(file: str, version: tuple[int, int], column: str, group: int) -> "pa.ChunkedArray":
    """The bytes of all recordings in a row group."""
    import pyarrow.compute as pc

    found = _opened(file, version)[0].read_row_group(group, [f"{column}.bytes"])
    if column not in found.column_names:
        raise ValueError(f"has no column {column!r} of recordings")
    return pc.struct_field(found[column], "bytes")
