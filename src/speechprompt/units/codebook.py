"""Codebooks: k-means centroids of frames, and the nearest centroid of a frame."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.storage.files import content_of, copy_file
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.parquet import open_parquet
from speechprompt.storage.tensors import read_tensors, write_tensors
from speechprompt.units.feature_files import FeatureMetadata, read_feature_metadata

__all__ = [
    "Codebook",
    "check_centroids",
    "check_codebook",
    "fit_codebook",
    "load_codebook",
    "take_codebook",
    "write_codebook",
]

MAX_UNITS = np.iinfo(np.int16).max


@dataclass(frozen=True, repr=False)
class Codebook:
    """K centroids of one encoder's frames.

    Attributes:
        name: Name of the file without its suffix.
        sha256: Hash of the file.
        centroids: float32 ``[K, D]``.
        features: The encoder whose frames it was fitted on.
    """

    name: str
    sha256: str
    centroids: np.ndarray
    features: FeatureMetadata

    @property
    def n_units(self) -> int:
        """K."""
        return len(self.centroids)

    def __repr__(self) -> str:
        n_units, dimension = self.centroids.shape
        return f"<Codebook {self.name}: {n_units} units of {dimension} dimensions>"

    def assign(self, frames: np.ndarray) -> np.ndarray:
        """Find the nearest centroid of each frame ``[n_frames, D]``, as int16 ``[n_frames]``.

        In ``|x - c|² = |x|² - 2 x·c + |c|²`` the term ``|x|²`` does not matter, so that one matrix
        product in float32 is enough. The lowest unit wins a tie.
        """
        offsets = np.einsum("kd,kd->k", self.centroids, self.centroids)
        distances = offsets - 2 * (frames.astype(np.float32) @ self.centroids.T)  # (n_frames, K)
        return distances.argmin(axis=1).astype(np.int16)


def fit_codebook(sample_path: str | Path, out: str | Path, *, n_units: int, seed: int) -> Codebook:
    """Fit a codebook by mini-batch k-means with k-means++ initialisation, as GSLM does.

    The same sample and seed give the same bytes for any number of threads, because the numeric
    libraries may use only one thread here.

    Args:
        sample_path: Sample of frames, as :func:`~.units.extraction.sample_frames` writes it.
        out: The codebook, a safetensors file.
        n_units: Number of centroids, K.
        seed: Seed of initialisation and batches.

    Raises:
        ArtefactError: the sample cannot be read or holds fewer distinct frames than units.
        ConfigError: ``n_units`` is not in 2 … 32767 (units are int16).
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    if not 2 <= n_units <= MAX_UNITS:
        raise ConfigError(f"n_units: expected 2 to {MAX_UNITS}, found {n_units}")
    metadata, frames = _read_sample(sample_path)
    if len(frames) < n_units:
        raise ArtefactError(
            f"{sample_path}: expected at least n_units = {n_units} frames, found {len(frames)}; "
            "sample more frames or ask for fewer units"
        )
    kmeans = MiniBatchKMeans(
        n_units,
        init="k-means++",
        n_init=5,
        batch_size=10_000,
        max_iter=100,
        tol=0.0,
        max_no_improvement=100,
        reassignment_ratio=0.0,
        compute_labels=False,
        random_state=seed,
    )
    _check_distinct_frames(frames, n_units, sample_path)
    with threadpool_limits(limits=1):
        kmeans.fit(frames)
    check_centroids(kmeans.cluster_centers_, sample_path)
    origin = {"seed": seed, "n_frames": len(frames)}
    write_codebook(out, kmeans.cluster_centers_, metadata, origin)
    return load_codebook(out)


def load_codebook(path: str | Path) -> Codebook:
    """Read a codebook.

    Raises:
        ArtefactError: the file is missing, damaged or no codebook, or as :func:`check_centroids`.
    """
    try:
        tensors, metadata = read_tensors(path, framework="numpy")
        centroids = tensors["centroids"]
        values = {n: metadata[n] for n in ("encoder", "encoder_sha256", "layer", "frame_rate")}
    except KeyError as error:
        raise ArtefactError(f"{path}: expected a codebook, {error} is missing") from error
    with content_of(path):
        check_centroids(centroids, path)
        centroids = centroids.astype(np.float32)
        features = FeatureMetadata(**values, dimension=centroids.shape[1])
        return Codebook(Path(path).stem, sha256_file(path), centroids, features)


def check_centroids(centroids: np.ndarray, source: str | Path) -> None:
    """Refuse what cannot be the centroids of units.

    Args:
        centroids: the array.
        source: its file, for the message.

    Raises:
        ArtefactError: the array is not 2 to 32,767 distinct rows of finite floating-point numbers.
    """
    found = f"found {centroids.dtype} {list(centroids.shape)}"
    wanted = f"{source}: expected 2 to {MAX_UNITS} finite centroids [K, D]"
    shape_fits = centroids.ndim == 2 and 2 <= len(centroids) <= MAX_UNITS and centroids.shape[1] > 0
    if not shape_fits or centroids.dtype.kind != "f":
        raise ArtefactError(f"{wanted} of floating-point numbers, {found}")
    # Stored and compared in 32 bits, where other types may overflow or become equal.
    with np.errstate(over="ignore"):
        single = centroids.astype(np.float32)
    if not np.isfinite(single).all():
        wrong = int(np.flatnonzero(~np.isfinite(single).all(axis=1))[0])
        raise ArtefactError(f"{wanted}, centroid {wrong} has NaN or infinity")
    if (n_distinct := len(np.unique(single, axis=0))) < len(single):
        raise ArtefactError(
            f"{wanted} that differ, found {n_distinct} distinct of {len(single)}; fit fewer units, "
            "or sample more varied recordings"
        )


def check_codebook(codebook: Codebook, features: FeatureMetadata, source: str | Path) -> None:
    """Refuse features of another encoder than the codebook was fitted on.

    Args:
        codebook: The codebook.
        features: The encoder of the features.
        source: The origin of the features, for the message.

    Raises:
        ArtefactError: the encoders differ.
    """
    if codebook.features != features:
        raise ArtefactError(
            f"{source}: expected features of the encoder that codebook {codebook.name!r} was "
            f"fitted on ({codebook.features}), found {features}; fit the codebook again or "
            "extract the features again"
        )


def take_codebook(codebook: str | Path, out: str | Path, *, features: FeatureMetadata) -> None:
    """Check that a codebook belongs to an encoder, and copy it.

    Args:
        codebook: Codebook that this package wrote.
        out: The copy to write.
        features: The encoder.

    Raises:
        ArtefactError: the codebook cannot be read, or belongs to another encoder.
    """
    check_codebook(load_codebook(codebook), features, "the encoder")
    copy_file(codebook, out)


def write_codebook(
    out: str | Path, centroids: np.ndarray, features: FeatureMetadata, origin: Mapping[str, Any]
) -> None:
    """Write a codebook.

    Args:
        out: The safetensors file.
        centroids: ``[K, D]``, stored as float32.
        features: The encoder that they belong to.
        origin: Further metadata about their origin.
    """
    metadata = {**asdict(features), "n_units": len(centroids), **origin}
    del metadata["dimension"]  # the centroids state it
    write_tensors(out, {"centroids": np.asarray(centroids, dtype=np.float32)}, metadata)


def _check_distinct_frames(frames: np.ndarray, n_units: int, source: str | Path) -> None:
    """Refuse a sample that cannot have so many centroids, such as one of digital silence."""
    distinct: set[bytes] = set()
    for frame in frames + np.float32(0):  # -0 is 0
        distinct.add(frame.tobytes())
        if len(distinct) >= n_units:
            return
    raise ArtefactError(
        f"{source}: expected at least n_units = {n_units} distinct frames, found {len(distinct)} "
        f"among {len(frames)}; the recordings may be silent or copies of each other"
    )


def _read_sample(path: str | Path) -> tuple[FeatureMetadata, np.ndarray]:
    """The sample's metadata and its frames, float32 ``[n_frames, D]``."""
    metadata = read_feature_metadata(path)
    with open_parquet(path) as file:
        if file.schema_arrow.names != ["frames"]:
            raise ArtefactError(
                f"{path}: expected a sample with the column 'frames', "
                f"found {file.schema_arrow.names}"
            )
        shape = (file.metadata.num_rows, metadata.dimension)
        frames, start = np.empty(shape, dtype=np.float32), 0
        for batch in file.iter_batches():
            values = batch["frames"].flatten().to_numpy(zero_copy_only=False)
            frames[start : start + len(batch)] = values.reshape(-1, metadata.dimension)
            start += len(batch)
    return metadata, frames
