"""Quantisation of one shard of features: nearest centroids, without repeated units."""

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
from speechprompt.units.feature_files import iter_features, read_feature_metadata
from speechprompt.units.unit_files import UnitsMetadata, units_schema

__all__ = ["deduplicate", "quantize_units"]

# The columns of a manifest that are no labels.
MANIFEST_COLUMNS = ("utt_id", "path", "n_samples", "sample_rate", "speaker")
ROWS = 4096


def deduplicate(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replace runs of a unit by one unit and its duration.

    Args:
        units: int16 ``[n_frames]``.

    Returns:
        Units without repeats, and their durations in frames, both int16 ``[n]``. The durations sum
        to ``n_frames``.

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
) -> int:
    """Quantise one shard of features, and add path, speaker and labels of the manifest.

    Columns: ``utt_id``, ``path``, ``units`` list<int16>, ``durations`` list<int16> (in frames, with
    the sum ``n_frames``), ``n_frames`` int32, ``speaker``, then the label columns.

    Args:
        features_part: Features of a contiguous part of the manifest.
        manifest_path: Manifest of the split.
        codebook_path: The codebook.
        out: The units file.
        dedup: Whether to remove repeated units; otherwise every duration is 1.

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
    with open_parquet(features_part) as file:
        n_utterances = file.metadata.num_rows
    utterances = progress(iter_features(features_part), "units", total=n_utterances)
    row: int | None = None
    # One thread is as fast for small products, and their rounding is the same on every machine.
    with (
        threadpool_limits(limits=1),
        atomic_path(out) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        while block := list(islice(utterances, ROWS)):
            utt_ids = [utt_id for utt_id, _ in block]
            if row is None:
                row = pc.index(manifest["utt_id"], utt_ids[0]).as_py()
            rows = manifest.slice(max(row, 0), len(block))
            if rows["utt_id"].to_pylist() != utt_ids:
                raise ArtefactError(
                    f"{features_part}: expected utterances of {manifest_path} in its order, found "
                    f"others ({utt_ids[0]!r} …); extract the features again"
                )
            columns = _quantize_block([frames for _, frames in block], codebook, dedup)
            columns |= {name: rows[name] for name in ("utt_id", "path", "speaker", *labels)}
            writer.write_table(pa.table(columns, schema))
            row += len(block)
    return n_utterances


def _quantize_block(
    frames: Sequence[np.ndarray], codebook: Codebook, dedup: bool
) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"units": [], "durations": [], "n_frames": []}
    for utterance in frames:
        # One utterance at a time, so that rounding does not depend on its neighbours.
        units = codebook.assign(utterance)
        durations = np.ones_like(units)
        if dedup:
            units, durations = deduplicate(units)
        columns["units"].append(units)
        columns["durations"].append(durations)
        columns["n_frames"].append(len(utterance))
    return columns
