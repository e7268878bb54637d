"""Extraction of features, shard by shard, and a seeded sample of frames over all shards."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from speechprompt.audio.reading import SAMPLE_RATE, read_audio
from speechprompt.audio.speed import check_speeds, with_renditions
from speechprompt.corpora.manifest import read_root
from speechprompt.encoders.base import Encoder, encode_in_batches
from speechprompt.errors import ArtefactError, ConfigError, CorpusError
from speechprompt.runtime.progress import progress
from speechprompt.runtime.reading_ahead import read_ahead, write_behind
from speechprompt.storage.parquet import checked_meanwhile, open_parquet, read_parquet
from speechprompt.units.feature_files import (
    FeatureMetadata,
    features_schema,
    features_table,
    frames_writer,
    read_feature_metadata,
    read_group,
    sample_schema,
    sample_table,
)

__all__ = ["extract_features", "in_windows", "read_waveform", "sample_frames", "shard_rows"]

T = TypeVar("T")

# Seconds of audio that are read ahead and sorted by length, which bounds the memory.
WINDOW_SECONDS = 400.0
SAMPLE_ROWS = 65_536


def shard_rows(n_rows: int, shard: int, n_shards: int) -> range:
    """The rows of one shard. They are contiguous, and each row is in exactly one shard.

    Raises:
        ConfigError: ``shard`` is not one of 0 … ``n_shards - 1``.
    """
    if not 0 <= shard < n_shards:
        raise ConfigError(f"shard: expected 0 to {n_shards - 1}, found {shard}")
    return range(shard * n_rows // n_shards, (shard + 1) * n_rows // n_shards)


def extract_features(
    manifest_path: str | Path,
    encoder: Encoder,
    out: str | Path,
    *,
    shard: int = 0,
    n_shards: int = 1,
    speeds: Sequence[float] = (),
) -> int:
    """Encode one shard of a manifest into a Parquet file, in the manifest's order.

    Columns: ``utt_id``, ``n_frames`` int32, ``frames`` fp16 ``[n_frames, D]``. A window of audio is
    read ahead, in which utterances of similar length form batches; its length bounds the memory.
    An utterance has a row, and behind it one for each of ``speeds``.

    Args:
        manifest_path: Manifest of the split.
        encoder: The encoder.
        out: The features file.
        shard: Number of this shard, from 0.
        n_shards: Number of shards.
        speeds: Further speeds that each recording is played at.

    Returns:
        The number of utterances.

    Raises:
        ArtefactError: the manifest cannot be read, or frames are not finite.
        ConfigError: impossible speeds.
        CorpusError: the split is empty, or a file that the manifest lists cannot be read.
    """
    import torch

    try:
        check_speeds(speeds)
    except ValueError as error:
        raise ConfigError(f"speeds: {error}") from None
    manifest = read_parquet(manifest_path, ["utt_id", "path"])
    if not len(manifest):
        raise CorpusError(f"{manifest_path}: expected utterances, found none")
    rows = shard_rows(len(manifest), shard, n_shards)
    manifest = manifest.slice(rows.start, len(rows))
    root = read_root(manifest_path)
    pairs = zip(manifest["utt_id"].to_pylist(), manifest["path"].to_pylist(), strict=True)
    read = partial(_read_renditions, root, speeds)
    listed = progress(read_ahead(read, pairs, encoder.readers), "features", total=len(manifest))
    renditions = ((utt_id, played) for utt_id, found in listed for played in found)
    schema = features_schema(FeatureMetadata.of(encoder), speeds)
    with frames_writer(out, schema) as writer:

        def write(utt_ids: list[str], frames: list[torch.Tensor]) -> None:
            writer.write_table(features_table(utt_ids, frames, schema))

        with write_behind(write, in_thread=encoder.readers > 0) as write_window:
            for utt_ids, waveforms in in_windows(renditions):
                frames = encode_in_batches(encoder, list(map(torch.from_numpy, waveforms)))
                write_window(utt_ids, frames)
    return len(manifest)


def _read_renditions(
    root: Path, speeds: Sequence[float], listed: tuple[str, str]
) -> tuple[str, list[np.ndarray]]:
    utt_id, path = listed
    return utt_id, with_renditions(read_waveform(root / path), speeds)


def sample_frames(
    feature_parts: Sequence[str | Path], out: str | Path, *, n_frames: int, seed: int
) -> int:
    """Draw frames without replacement, all equally likely, into a Parquet file.

    The file depends on the frames in the order of the parts, and not on their division into parts.
    Frames of renditions are frames as any.
    Column: ``frames`` fp16 ``[D]``, in the order of the parts.

    Args:
        feature_parts: Features files of one encoder, in order.
        out: The sample.
        n_frames: Number of frames to draw; if there are fewer, all are taken.
        seed: Seed of the draw.

    Returns:
        The number of frames drawn.

    Raises:
        ArtefactError: there are no parts or no frames, or the parts belong to different encoders.
    """
    if not feature_parts:
        raise ArtefactError("sample of frames: expected features files, found none")
    with checked_meanwhile(*feature_parts) as wait_until_checked:
        metadata = read_feature_metadata(feature_parts[0])
        for path in feature_parts[1:]:
            if (found := read_feature_metadata(path)) != metadata:
                raise ArtefactError(
                    f"{path}: expected features of the encoder of {feature_parts[0]} ({metadata}), "
                    f"found {found}"
                )
        counts = [(path, _count_frames(path)) for path in feature_parts]
        total = sum(sum(groups) for _, groups in counts)
        if total == 0:
            raise ArtefactError(f"{feature_parts[0]}: expected frames, found none in any part")
        size = min(n_frames, total)
        generator = np.random.default_rng(seed)
        chosen = np.sort(generator.choice(total, size=size, replace=False, shuffle=False))

        schema = sample_schema(metadata)
        picked = _pick_frames(counts, chosen, metadata.dimension)
        with frames_writer(out, schema) as writer:
            for block in _rechunk(progress(picked, "sample", unit="group"), SAMPLE_ROWS):
                writer.write_table(sample_table(block, schema))
            wait_until_checked()
    return size


def in_windows(
    recordings: Iterable[tuple[str, T]], is_full: Callable[[int], bool] = lambda n: False
) -> Iterator[tuple[list[str], list[T]]]:
    """Gather named recordings in windows of a few minutes of audio.

    Args:
        recordings: name and samples of each; without samples it has something else.
        is_full: whether a window of so many recordings is full even if its audio is shorter.
    """
    names: list[str] = []
    gathered: list[T] = []
    n_samples = 0
    for name, samples in recordings:
        names.append(name)
        gathered.append(samples)
        n_samples += len(samples) if isinstance(samples, np.ndarray) else 0
        if n_samples >= WINDOW_SECONDS * SAMPLE_RATE or is_full(len(names)):
            yield names, gathered
            names, gathered, n_samples = [], [], 0
    if names:
        yield names, gathered


def read_waveform(path: Path) -> np.ndarray:
    """Read a recording that a manifest lists, as :func:`.audio.reading.read_audio` does.

    Raises:
        CorpusError: the recording cannot be read any more.
    """
    try:
        return read_audio(path)
    except CorpusError as error:
        raise CorpusError(
            f"{error}; it could be read when its manifest was made, restore the file or prepare "
            "the corpus again"
        ) from error


def _count_frames(path: str | Path) -> list[int]:
    """Number of frames in each row group."""
    with open_parquet(path) as file:
        groups = range(file.num_row_groups)
        lengths = [file.read_row_group(group, columns=["n_frames"])[0] for group in groups]
    return [int(column.to_numpy().sum(dtype=np.int64)) for column in lengths]


def _pick_frames(
    counts: Sequence[tuple[str | Path, list[int]]], chosen: np.ndarray, dimension: int
) -> Iterator[np.ndarray]:
    """Yield the frames with the chosen, sorted numbers, row group by row group."""
    start = 0
    for path, groups in counts:
        with open_parquet(path) as file:
            for group, count in enumerate(groups):
                first, last = np.searchsorted(chosen, [start, start + count])
                if last > first:
                    yield read_group(file, group, dimension)[2][chosen[first:last] - start]
                start += count


def _rechunk(blocks: Iterator[np.ndarray], n_rows: int) -> Iterator[np.ndarray]:
    """Yield blocks of ``n_rows`` (the last may be shorter), so that row groups have equal sizes."""
    pending: list[np.ndarray] = []
    for block in blocks:
        pending.append(block)
        while sum(map(len, pending)) >= n_rows:
            joined = np.concatenate(pending)
            yield joined[:n_rows]
            pending = [joined[n_rows:]]
    if sum(map(len, pending)):
        yield np.concatenate(pending)
