"""Parity with scikit-learn's own prediction."""

import joblib
import numpy as np
import pytest
from publishing import Bomb, check_that_it_works
from sklearn.cluster import KMeans, MiniBatchKMeans

from speechprompt.errors import ArtefactError, AssetError
from speechprompt.models.importing.codebook import import_codebook
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensor_metadata
from speechprompt.units.codebook import load_codebook
from speechprompt.units.feature_files import FeatureMetadata

FEATURES = FeatureMetadata("hubert", "e" * 64, 6, 50.0, 24)


def frames(n, seed, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal((n, 24)).astype(dtype)


def fit(kind=MiniBatchKMeans, dtype=np.float32, **settings):
    """As GSLM fits it: mini-batches, k-means++, no random state fixed."""
    return kind(n_clusters=30, init="k-means++", n_init=2, **settings).fit(frames(2_000, 0, dtype))


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("xz", 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [MiniBatchKMeans, KMeans])
def test_assignments_equal_scikit_learns(tmp_path, kind, dtype, compress):
    # The state of a generator is in the file too, as it is in the published ones.
    model = fit(kind, dtype, random_state=np.random.RandomState(3))
    joblib.dump(model, tmp_path / "km.bin", compress=compress)
    codebook = import_codebook(tmp_path / "km.bin", tmp_path / "km.safetensors", features=FEATURES)
    new = frames(5_000, 1)
    np.testing.assert_array_equal(codebook.assign(new), model.predict(new.astype(dtype)))
    np.testing.assert_array_equal(codebook.centroids, model.cluster_centers_.astype(np.float32))
    assert codebook.features == FEATURES
    trusted = tmp_path / "trusted.safetensors"
    import_codebook(tmp_path / "km.bin", trusted, features=FEATURES, trust=True)
    assert trusted.read_bytes() == (tmp_path / "km.safetensors").read_bytes()


def test_a_file_of_numpy_1_and_an_older_scikit_learn(tmp_path):
    model = fit()
    model.inertia_ = np.float64(model.inertia_)
    joblib.dump(model, tmp_path / "km.bin", protocol=2)
    content = (tmp_path / "km.bin").read_bytes()
    assert b"numpy._core" in content
    old = content.replace(b"numpy._core", b"numpy.core")
    old = old.replace(b"sklearn.cluster._kmeans", b"sklearn.cluster.k_means_")
    (tmp_path / "km.bin").write_bytes(old)
    import_codebook(tmp_path / "km.bin", tmp_path / "km.safetensors", features=FEATURES)
    codebook = load_codebook(tmp_path / "km.safetensors")
    np.testing.assert_array_equal(codebook.centroids, model.cluster_centers_)


def test_the_metadata(tmp_path):
    joblib.dump(fit(), tmp_path / "km.bin")
    import_codebook(tmp_path / "km.bin", tmp_path / "km.safetensors", features=FEATURES)
    assert read_tensor_metadata(tmp_path / "km.safetensors") == {
        "encoder": "hubert",
        "encoder_sha256": "e" * 64,
        "layer": 6,
        "frame_rate": 50.0,
        "n_units": 30,
        "source": {"file": "km.bin", "sha256": sha256_file(tmp_path / "km.bin")},
    }


def changed(**attributes):
    model = fit()
    vars(model).update(attributes)
    return model


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (
            {"a": 1},
            ArtefactError,
            "expected scikit-learn's KMeans or .*found dict",
        ),
        (MiniBatchKMeans(), ArtefactError, "fitted, found MiniBatchKMeans"),
        (np.ones((3, 24)), ArtefactError, "fitted, found ndarray"),
        (lambda: changed(cluster_centers_=np.eye(3, 25)), ArtefactError, "of 24 dim.*found 25"),
        (lambda: changed(cluster_centers_=np.ones((3, 24))), ArtefactError, "1 distinct of 3"),
        (lambda: changed(cluster_centers_=np.full((3, 24), np.nan)), ArtefactError, "finite"),
        (lambda: changed(cluster_centers_=np.ones((1, 24))), ArtefactError, "2 to 32767 finite"),
        (lambda: changed(cluster_centers_=np.ones(24)), ArtefactError, r"found float64 \[24\]"),
        (lambda: changed(cluster_centers_=np.ones((3, 24), int)), ArtefactError, "found int64"),
    ],
)
def test_other_files(tmp_path, value, error, message):
    joblib.dump(value() if callable(value) else value, tmp_path / "km.bin")
    with pytest.raises(error, match=rf"km\.bin: .*{message}"):
        import_codebook(tmp_path / "km.bin", tmp_path / "km.safetensors", features=FEATURES)
    assert [path.name for path in tmp_path.iterdir()] == ["km.bin"]


def test_a_wrong_sum_and_a_file_that_would_run_code(tmp_path):
    path, out = tmp_path / "km.bin", tmp_path / "km.safetensors"
    bomb = Bomb(tmp_path / "went-off")
    check_that_it_works(bomb)
    joblib.dump(changed(bomb=bomb), path)
    with pytest.raises(AssetError, match="expected the SHA-256"):
        import_codebook(path, out, features=FEATURES, sha256="0" * 64, trust=True)
    with pytest.raises(AssetError, match=r"refused.*system"):
        import_codebook(path, out, features=FEATURES)
    assert [found.name for found in tmp_path.iterdir()] == ["km.bin"]
