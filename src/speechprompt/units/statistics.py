"""How often units occur and how long they last, over the utterances of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from speechprompt.storage.files import read_json
from speechprompt.storage.parquet import open_parquet
from speechprompt.units.unit_files import read_units

__all__ = ["DURATION_BINS", "unit_statistics"]

# Durations in frames that are counted apart; longer ones fall into the last.
DURATION_BINS = 50


def unit_statistics(index_path: str | Path) -> pa.Table:
    """Count the units of a split.

    Args:
        index_path: index.json of the split.

    Returns:
        One row per unit of the codebook: ``unit``; ``count``, occurrences in the units files, after
        repeats were removed if they were; ``frames`` and ``mean_frames``, how many frames they
        cover in all and on average; ``durations``, a list of how many occurrences last 1, 2, …
        frames, the last entry and longer. The last three are null for ready units, whose
        durations are not known. The schema's metadata has ``frame_rate`` in frames per second
        where it is known.

    Raises:
        ArtefactError: no index, or a part of it is missing.
    """
    table = read_units(index_path, ["units", "durations"])
    n_units = read_json(index_path)["n_units"]
    units = _flat(table["units"])
    counts = np.bincount(units, minlength=n_units)
    columns = {"unit": np.arange(n_units), "count": counts}
    if table["durations"].null_count == 0:
        durations = _flat(table["durations"])
        frames = np.bincount(units, weights=durations, minlength=n_units).astype(np.int64)
        places = np.minimum(durations, DURATION_BINS) - 1
        histogram = np.zeros((n_units, DURATION_BINS), np.int64)
        np.add.at(histogram, (units, places), 1)
        columns["frames"] = frames
        columns["mean_frames"] = frames / np.maximum(counts, 1)
        columns["durations"] = list(histogram)
    else:
        nothing = pa.nulls(n_units)
        columns |= {"frames": nothing, "mean_frames": nothing, "durations": nothing}
    schema = pa.schema(
        [
            ("unit", pa.int16()),
            ("count", pa.int64()),
            ("frames", pa.int64()),
            ("mean_frames", pa.float64()),
            ("durations", pa.list_(pa.int64())),
        ],
        metadata=_frame_rate(index_path),
    )
    return pa.table(columns, schema=schema)


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    return np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks]).astype(np.int64)


def _frame_rate(index_path: str | Path) -> dict[str, str]:
    first = Path(index_path).parent / read_json(index_path)["parts"][0]["name"]
    with open_parquet(first) as file:
        found = (file.schema_arrow.metadata or {}).get(b"frame_rate")
    return {} if found is None else {"frame_rate": found.decode()}
