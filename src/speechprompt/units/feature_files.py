"""Parquet files of frames: the features of a shard, and a sample of frames."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speechprompt.encoders.base import Encoder
from speechprompt.errors import ArtefactError
from speechprompt.storage.files import content_of
from speechprompt.storage.parquet import (
    metadata_of,
    open_parquet,
    parquet_writer,
    read_schema,
    schema_metadata,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "FeatureMetadata",
    "features_schema",
    "features_table",
    "frames_writer",
    "iter_features",
    "read_feature_metadata",
    "read_group",
    "read_speeds",
    "sample_schema",
    "sample_table",
]


@dataclass(frozen=True)
class FeatureMetadata:
    """The encoder that features, a sample of frames or a codebook belong to."""

    encoder: str
    encoder_sha256: str
    layer: int | None
    frame_rate: float
    dimension: int

    @classmethod
    def of(cls, encoder: Encoder) -> Self:
        """The metadata of an encoder's output."""
        own = (encoder.kind, encoder.sha256, encoder.layer, encoder.frame_rate, encoder.dimension)
        return cls(*own)


def features_schema(metadata: FeatureMetadata, speeds: Sequence[float] = ()) -> pa.Schema:
    """``utt_id``, ``n_frames`` int32, ``frames`` fp16 ``[n_frames, D]``.

    With ``speeds``, each utterance has one more row for each of them, behind its own.
    """
    frames = pa.list_(pa.list_(pa.float16(), metadata.dimension))
    return pa.schema(
        {"utt_id": pa.string(), "n_frames": pa.int32(), "frames": frames},
        metadata=schema_metadata(asdict(metadata) | {"speeds": list(speeds) or None}),
    )


def features_table(
    utt_ids: Sequence[str], frames: Sequence["Tensor"], schema: pa.Schema
) -> pa.Table:
    """Make rows of :func:`features_schema` from float tensors ``[n_frames, D]``.

    Raises:
        ArtefactError: a number is not finite or too large for 16 bits.
    """
    import torch

    values = torch.cat(list(frames)).half().numpy()  # (all frames, D)
    lengths = np.array([len(frame) for frame in frames], dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    # Of an infinite number, or one that is not a number, all bits of the exponent are set.
    if ((values.view(np.uint16) & 0x7C00) == 0x7C00).any():
        finite = np.isfinite(values).all(axis=1)
        culprit = int(np.searchsorted(offsets, np.argmin(finite), side="right")) - 1
        raise ArtefactError(f"frames of utterance {utt_ids[culprit]!r} are not finite in 16 bits")
    nested = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    columns = [utt_ids, lengths, pa.ListArray.from_arrays(offsets, nested)]
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema)


def sample_schema(metadata: FeatureMetadata) -> pa.Schema:
    """``frames`` fp16 ``[D]``, one frame per row."""
    frames = pa.list_(pa.float16(), metadata.dimension)
    return pa.schema({"frames": frames}, metadata=schema_metadata(asdict(metadata)))


def sample_table(frames: np.ndarray, schema: pa.Schema) -> pa.Table:
    """Make rows of :func:`sample_schema` from float16 ``[n, D]``."""
    values = pa.array(np.ascontiguousarray(frames).reshape(-1))
    nested = pa.FixedSizeListArray.from_arrays(values, frames.shape[1])
    return pa.table({"frames": nested}, schema)


def frames_writer(path: str | Path, schema: pa.Schema) -> AbstractContextManager[pq.ParquetWriter]:
    """Write a file of either schema, table by table."""
    # Frames hardly repeat: a dictionary of them saves nothing, and compression an eighth, for more
    # time than a GPU takes to compute them.
    return parquet_writer(path, schema, compression="none", use_dictionary=False)


def read_feature_metadata(path: str | Path) -> FeatureMetadata:
    """Read which encoder a features file or a sample of frames belongs to.

    Raises:
        ArtefactError: the file cannot be read, or is neither of the two.
    """
    found = metadata_of(read_schema(path))
    if missing := {"encoder", "encoder_sha256", "frame_rate", "dimension"} - found.keys():
        raise ArtefactError(
            f"{path}: expected frames, but its metadata lack {', '.join(sorted(missing))}"
        )
    with content_of(path):
        own: dict[str, Any] = {name: found[name] for name in ("encoder", "encoder_sha256")}
        own |= {name: json.loads(found[name]) for name in ("frame_rate", "dimension")}
        return FeatureMetadata(**own, layer=json.loads(found.get("layer", "null")))


def read_speeds(path: str | Path) -> list[float]:
    """The speeds of the renditions in a features file.

    Raises:
        ArtefactError: the file cannot be read.
    """
    with content_of(path):
        return list(map(float, json.loads(metadata_of(read_schema(path)).get("speeds", "[]"))))


def iter_features(path: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each ``utt_id`` and its frames, float16 ``[n_frames, D]``, in the file's order.

    Raises:
        ArtefactError: the file cannot be read or holds no features.
    """
    dimension = read_feature_metadata(path).dimension
    with open_parquet(path) as file:
        for group in range(file.num_row_groups):
            utt_ids, offsets, frames = read_group(file, group, dimension)
            for utt_id, start, stop in zip(utt_ids, offsets[:-1], offsets[1:], strict=True):
                yield utt_id, frames[start:stop]


def read_group(
    file: pq.ParquetFile, group: int, dimension: int
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read one row group of features.

    Returns:
        The utterances; the offsets ``[n_utterances + 1]`` of their first frames; and the frames of
        all, ``[n, D]``.
    """
    table = file.read_row_group(group, columns=["utt_id", "frames"])
    column = table["frames"].combine_chunks()
    values = column.flatten().flatten().to_numpy(zero_copy_only=False)
    offsets = column.offsets.to_numpy()
    return table["utt_id"].to_pylist(), offsets - offsets[0], values.reshape(-1, dimension)
