"""Counts and durations of units over the utterances of a split."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from speechprompt.storage.parquet import metadata_of
from speechprompt.units.unit_files import read_units

__all__ = ["DURATION_BINS", "unit_statistics"]

# Number of durations, in frames, that are counted separately; the last includes longer ones.
DURATION_BINS = 50


def unit_statistics(index_path: str | Path) -> pa.Table:
    """Count the units of a split.

    Args:
        index_path: index.json of the split.

    Returns:
        One row per unit of the codebook: ``unit``; ``count``, its occurrences in the units files;
        ``frames`` and ``mean_frames``, the frames of its occurrences in total and on average;
        ``durations``, the numbers of occurrences that last 1, 2, … frames (the last number
        includes longer ones). The last three columns are null for ready units, whose durations are
        unknown. The schema's metadata has ``frame_rate`` in frames per second if it is known.

    Raises:
        ArtefactError: the index or a part of it is missing.
    """
    table = read_units(index_path, ["units", "durations"])
    about = metadata_of(table.schema)
    n_units = int(about["n_units"])
    units = _flat(table["units"])
    counts = np.bincount(units, minlength=n_units)
    nulls = pa.nulls(n_units)
    covered: dict[str, Any] = {"frames": nulls, "mean_frames": nulls, "durations": nulls}
    if table["durations"].null_count == 0:
        durations = _flat(table["durations"])
        frames = np.bincount(units, weights=durations, minlength=n_units).astype(np.int64)
        histogram = np.zeros((n_units, DURATION_BINS), np.int64)
        np.add.at(histogram, (units, np.minimum(durations, DURATION_BINS) - 1), 1)
        mean_frames = frames / np.maximum(counts, 1)
        covered = {"frames": frames, "mean_frames": mean_frames, "durations": list(histogram)}
    schema = pa.schema(
        {
            "unit": pa.int16(),
            "count": pa.int64(),
            "frames": pa.int64(),
            "mean_frames": pa.float64(),
            "durations": pa.list_(pa.int64()),
        },
        metadata={name: about[name] for name in ("frame_rate",) if name in about},
    )
    return pa.table({"unit": np.arange(n_units), "count": counts, **covered}, schema)


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    return np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks]).astype(np.int64)
