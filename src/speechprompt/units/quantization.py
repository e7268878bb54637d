"""Quantisation of one shard of features: nearest centroids, without repeated units."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.runtime.progress import progress
from speechprompt.storage.parquet import checked_meanwhile, parquet_writer, read_parquet
from speechprompt.units.codebook import Codebook, check_codebook, load_codebook
from speechprompt.units.feature_files import iter_features, read_feature_metadata, read_speeds
from speechprompt.units.unit_files import UnitsMetadata, units_schema

__all__ = ["deduplicate", "quantize", "quantize_units"]

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
    the sum ``n_frames``), ``n_frames`` int32, ``speaker``, then the label columns. Where the
    features have renditions, ``renditions`` behind ``units`` has the units of each.

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
    with checked_meanwhile(features_part) as wait_until_checked:
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
            speeds=read_speeds(features_part) or None,
        )
        schema = units_schema(labels, metadata)
        n_played = 1 + len(metadata.speeds or ())
        rows_of_all = read_parquet(features_part, ["utt_id"])["utt_id"]
        utt_ids = rows_of_all.take(pa.array(range(0, len(rows_of_all), n_played), pa.int64()))
        start = pc.index(manifest["utt_id"], utt_ids[0]).as_py() if len(utt_ids) else 0
        manifest = manifest.slice(max(start, 0), len(utt_ids))
        if manifest["utt_id"] != utt_ids:
            raise ArtefactError(
                f"{features_part}: expected utterances of {manifest_path} in its order, found "
                f"others ({utt_ids[0].as_py()!r} …); extract the features again"
            )
        played = progress(iter_features(features_part), "units", total=len(rows_of_all))
        n_rows = ROWS // n_played
        # One thread is as fast for small products, and their rounding is the same on every machine.
        with threadpool_limits(limits=1), parquet_writer(out, schema) as writer:
            for first in range(0, len(utt_ids), n_rows):
                rows = manifest.slice(first, n_rows)
                block = [frames for _, frames in islice(played, n_rows * n_played)]
                # One utterance at a time, so that rounding does not depend on its neighbours.
                units, durations = zip(
                    *(quantize(frames, codebook, dedup) for frames in block), strict=True
                )
                own = range(0, len(block), n_played)
                columns: dict[str, Any] = {
                    "units": [units[i] for i in own],
                    "renditions": [units[i + 1 : i + n_played] for i in own],
                    "durations": [durations[i] for i in own],
                    "n_frames": [len(block[i]) for i in own],
                }
                columns |= {name: rows[name] for name in ("utt_id", "path", "speaker", *labels)}
                writer.write_table(pa.table(columns, schema))
            wait_until_checked()
    return len(utt_ids)


def quantize(frames: np.ndarray, codebook: Codebook, dedup: bool) -> tuple[np.ndarray, np.ndarray]:
    """Units of one utterance's frames ``[n_frames, D]``, and their durations in frames.

    Raises:
        CorpusError: a run of one unit is too long.
    """
    units = codebook.assign(frames)
    return deduplicate(units) if dedup else (units, np.ones_like(units))
