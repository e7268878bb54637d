"""Import of GSLM's k-means models (``km.bin``), joblib pickles of scikit-learn, as codebooks."""

from pathlib import Path

import numpy as np

from speechprompt.errors import ArtefactError
from speechprompt.models.importing.pickles import identify, load_joblib, published
from speechprompt.units.codebook import Codebook, check_centroids, load_codebook, write_codebook
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
    """Import a k-means model that any version of scikit-learn wrote.

    Args:
        kmeans: A joblib file of ``KMeans`` or ``MiniBatchKMeans``.
        out: The codebook to write, safetensors.
        features: The encoder whose frames it was fitted on.
        sha256: The sum that the file must have.
        trust: Run all code that the file asks for; only for your own files.

    Raises:
        AssetError: the file has another sum, is damaged or would run code.
        ArtefactError: the file is no k-means model, or has another number of dimensions than the
            encoder.
    """
    source = identify(kmeans, sha256)
    with published(kmeans):
        model = load_joblib(kmeans, trust=trust)
        kind = type(model).__name__
        found = getattr(model, "__dict__", {}).get("cluster_centers_")
        if kind not in ("KMeans", "MiniBatchKMeans") or not isinstance(found, np.ndarray):
            raise ArtefactError(
                f"{kmeans}: expected scikit-learn's KMeans or MiniBatchKMeans, fitted, found {kind}"
            )
        check_centroids(found, kmeans)
        if found.shape[1] != features.dimension:
            raise ArtefactError(
                f"{kmeans}: expected centroids of {features.dimension} dimensions, as encoder "
                f"{features.encoder!r} has, found {found.shape[1]}"
            )
        write_codebook(out, np.array(found), features, {"source": source})
        return load_codebook(out)
