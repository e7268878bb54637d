"""Quantisation: nearest centroids of one shard of features, repeats collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.runtime.progress import progress
from speechprompt.storage.files import atomic_path
from speechprompt.storage.parquet import open_parquet, read_parquet
from speechprompt.units.codebook import Codebook, check_codebook, load_codebook
from speechprompt.units.frames import iter_features, read_feature_metadata
from speechprompt.units.unit_files import UnitsMetadata, units_schema, units_table

__all__ = ["deduplicate", "quantize_units"]

# What a manifest says of an utterance besides its labels.
MANIFEST_COLUMNS = ("utt_id", "path", "n_samples", "sample_rate", "speaker")
ROWS = 4096


def deduplicate(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collapse runs of a unit.

    Args:
        units: int16 ``[n_frames]``.

    Returns:
        Units without repeats and the frames of each, both int16 ``[n]``; the durations sum to
        ``n_frames``.

    Raises:
        CorpusError: a run is longer than int16 holds (11 minutes).
    """
    starts = np.flatnonzero(np.diff(units, prepend=-1))
    durations = np.diff(starts, append=len(units))
    if durations.max(initial=0) > np.iinfo(np.int16).max:
        raise CorpusError(
            f"expected runs of one unit of at most {np.iinfo(np.int16).max} frames, found "
            f"{durations.max()}; cut the recording"
        )
    return units[starts].astype(np.int16), durations.astype(np.int16)


def quantize_units(
    features_part: str | Path,
    manifest_path: str | Path,
    codebook_path: str | Path,
    out: str | Path,
    *,
    dedup: bool = True,
    description: str = "units",
) -> int:
    """Turn one shard of features into units, with path, speaker and labels of the manifest.

    Columns: ``utt_id``, ``path``, ``units`` list<int16>, ``durations`` list<int16> (frames of each
    unit, summing to ``n_frames``), ``n_frames`` int32, ``speaker``, then the label columns.

    Args:
        features_part: Features of a contiguous part of the manifest.
        manifest_path: Manifest of the split.
        codebook_path: The codebook.
        out: The units file.
        dedup: Collapse repeated units; otherwise every duration is 1.
        description: Text before the progress bar.

    Returns:
        The number of utterances.

    Raises:
        ArtefactError: a file cannot be read, the codebook belongs to another encoder, or the
            features to another manifest.
        CorpusError: a run of one unit is too long.
    """
    from threadpoolctl import threadpool_limits

    codebook = load_codebook(codebook_path)
    features = read_feature_metadata(features_part)
    check_codebook(codebook, features, features_part)
    manifest = read_parquet(manifest_path)
    labels = [name for name in manifest.column_names if name not in MANIFEST_COLUMNS]
    metadata = UnitsMetadata(
        codebook=codebook.name,
        codebook_sha256=codebook.sha256,
        n_units=codebook.n_units,
        dedup=dedup,
        encoder=features.encoder,
        layer=features.layer,
        frame_rate=features.frame_rate,
    )
    schema = units_schema(labels, metadata)
    n_utterances = _count_rows(features_part)
    utterances = progress(iter_features(features_part), description, total=n_utterances)
    row: int | None = None
    # One thread: small products gain nothing, and their rounding stays the same everywhere.
    with (
        threadpool_limits(limits=1),
        atomic_path(out) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        while block := list(islice(utterances, ROWS)):
            utt_ids = [utt_id for utt_id, _ in block]
            row = _find_row(manifest, utt_ids[0]) if row is None else row
            rows = manifest.slice(row, len(block))
            if rows["utt_id"].to_pylist() != utt_ids:
                raise ArtefactError(
                    f"{features_part}: expected utterances of {manifest_path} in its order, found "
                    f"others ({utt_ids[0]!r} …); extract the features again"
                )
            columns = _quantize_block([frames for _, frames in block], codebook, dedup)
            columns |= {name: rows[name] for name in ("utt_id", "path", "speaker", *labels)}
            writer.write_table(units_table(columns, schema))
            row += len(block)
    return n_utterances


def _quantize_block(
    frames: Sequence[np.ndarray], codebook: Codebook, dedup: bool
) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"units": [], "durations": [], "n_frames": []}
    for utterance in frames:
        # By itself: an utterance's units do not depend on its neighbours, not even by rounding.
        units = codebook.assign(utterance)
        durations = np.ones_like(units)
        if dedup:
            units, durations = deduplicate(units)
        columns["units"].append(units)
        columns["durations"].append(durations)
        columns["n_frames"].append(len(utterance))
    return columns


def _find_row(manifest: pa.Table, utt_id: str) -> int:
    """Row of an utterance; the table's length if it is not there."""
    row = pc.index(manifest["utt_id"], utt_id).as_py()
    return row if row >= 0 else len(manifest)


def _count_rows(path: str | Path) -> int:
    with open_parquet(path) as file:
        return file.metadata.num_rows
