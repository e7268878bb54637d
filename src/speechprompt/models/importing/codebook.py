"""GSLM's k-means models (``km.bin``), which are joblib pickles of scikit-learn, to a codebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.errors import ArtefactError
from speechprompt.models.importing.checks import identify
from speechprompt.models.importing.pickles import load_joblib
from speechprompt.units.codebook import MAX_UNITS, Codebook, load_codebook, write_codebook
from speechprompt.units.feature_files import FeatureMetadata

__all__ = ["import_codebook"]


def import_codebook(
    kmeans: str | Path,
    out: str | Path,
    *,
    features: FeatureMetadata,
    sha256: str | None = None,
    trust: bool = False,
) -> Codebook:
    """Import a k-means model; scikit-learn need not be of the version that wrote it.

    Args:
        kmeans: A joblib file of ``KMeans`` or ``MiniBatchKMeans``.
        out: The codebook to write, safetensors.
        features: The encoder whose frames it was fitted on, as imported.
        sha256: The sum that the file must have, if any.
        trust: Run whatever code the file holds; for files of one's own.

    Raises:
        AssetError: another sum, a damaged file, or one that would run code.
        ArtefactError: no k-means model, or one of another number of dimensions than the encoder's.
    """
    source = identify(kmeans, sha256)
    model = load_joblib(kmeans, trust=trust)
    centroids = _centroids(model, kmeans)
    if centroids.shape[1] != features.dimension:
        raise ArtefactError(
            f"{kmeans}: expected centroids of {features.dimension} dimensions, as encoder "
            f"{features.encoder!r} has, found {centroids.shape[1]}"
        )
    write_codebook(out, centroids, features, {"source": source})
    return load_codebook(out)


def _centroids(model: Any, path: str | Path) -> np.ndarray:
    """The centroids, float ``[K, D]``."""
    kind = type(model).__name__
    found = getattr(model, "__dict__", {}).get("cluster_centers_")
    if kind not in ("KMeans", "MiniBatchKMeans") or not isinstance(found, np.ndarray):
        raise ArtefactError(
            f"{path}: expected scikit-learn's KMeans or MiniBatchKMeans, fitted, found {kind}"
        )
    if (
        found.ndim != 2
        or found.dtype.kind != "f"
        or not 2 <= len(found) <= MAX_UNITS
        or not np.isfinite(found).all()
    ):
        raise ArtefactError(
            f"{path}: expected 2 to {MAX_UNITS} finite centroids, found {found.dtype} "
            f"{list(found.shape)}"
        )
    return np.array(found)
