from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from threadpoolctl import threadpool_limits

from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensor_metadata, write_tensors
from speechprompt.units.codebook import (
    Codebook,
    check_codebook,
    fit_codebook,
    load_codebook,
    take_codebook,
    write_codebook,
)
from speechprompt.units.feature_files import FeatureMetadata, sample_schema, sample_table

METADATA = FeatureMetadata("hubert", "ab" * 32, 6, 50.0, 4)


def write_sample(path, frames):
    pq.write_table(sample_table(frames.astype(np.float16), sample_schema(METADATA)), path)
    return path


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """4,000 frames around 8 well separated centres."""
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 10, (8, 4))
    frames = centres[generator.integers(8, size=4000)] + generator.normal(0, 0.1, (4000, 4))
    return write_sample(tmp_path_factory.mktemp("sample") / "sample.parquet", frames), centres


def test_it_finds_the_centres(sample, tmp_path):
    path, centres = sample
    codebook = fit_codebook(path, tmp_path / "km8.safetensors", n_units=8, seed=1)
    distances = np.linalg.norm(codebook.centroids[:, None] - centres, axis=2)
    assert sorted(distances.argmin(axis=1)) == list(range(8))
    assert distances.min(axis=1).max() < 0.1


def test_the_file_says_where_it_comes_from(sample, tmp_path):
    path = tmp_path / "km8.safetensors"
    codebook = fit_codebook(sample[0], path, n_units=8, seed=1)
    assert codebook.name == "km8"
    assert codebook.sha256 == sha256_file(path)
    assert codebook.features == METADATA
    assert codebook.centroids.dtype == np.float32
    assert read_tensor_metadata(path) == {
        "encoder": "hubert",
        "encoder_sha256": "ab" * 32,
        "layer": 6,
        "frame_rate": 50.0,
        "n_units": 8,
        "seed": 1,
        "n_frames": 4000,
    }


def test_bytes_depend_on_the_seed_and_not_on_the_threads(tmp_path):
    frames = np.random.default_rng(0).normal(size=(12_000, 4))
    path = write_sample(tmp_path / "sample.parquet", frames)
    content = {}
    for threads, seed in [(1, 1), (2, 1), (1, 2)]:
        out = tmp_path / f"{threads}-{seed}.safetensors"
        with threadpool_limits(limits=threads):
            fit_codebook(path, out, n_units=50, seed=seed)
        content[threads, seed] = out.read_bytes()
    assert content[1, 1] == content[2, 1]
    assert content[1, 1] != content[1, 2]


def test_too_few_frames(tmp_path):
    path = write_sample(tmp_path / "sample.parquet", np.zeros((7, 4)))
    with pytest.raises(ArtefactError, match="at least n_units = 8 frames, found 7"):
        fit_codebook(path, tmp_path / "out", n_units=8, seed=1)
    empty = write_sample(tmp_path / "empty.parquet", np.zeros((0, 4)))
    with pytest.raises(ArtefactError, match="found 0"):
        fit_codebook(empty, tmp_path / "out", n_units=8, seed=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("n_units", [1, 32_768])
def test_impossible_number_of_units(sample, tmp_path, n_units):
    with pytest.raises(ConfigError, match=f"2 to 32767, found {n_units}"):
        fit_codebook(sample[0], tmp_path / "out", n_units=n_units, seed=1)


def test_features_are_no_sample(tmp_path):
    path = tmp_path / "features.parquet"
    schema = sample_schema(METADATA).append(pa.field("utt_id", pa.string()))
    pq.write_table(pa.table({"frames": [[0.0] * 4], "utt_id": ["a"]}).cast(schema), path)
    with pytest.raises(ArtefactError, match="sample with the column 'frames'"):
        fit_codebook(path, tmp_path / "out", n_units=2, seed=1)


def codebook_of(centroids):
    return Codebook("km", "00" * 32, np.asarray(centroids, dtype=np.float32), METADATA)


def test_assignment_is_the_nearest_centroid():
    generator = np.random.default_rng(0)
    codebook = codebook_of(generator.normal(size=(30, 4)))
    frames = generator.normal(size=(500, 4)).astype(np.float16)
    distances = np.linalg.norm(frames[:, None].astype(float) - codebook.centroids, axis=2)
    units = codebook.assign(frames)
    assert units.dtype == np.int16
    np.testing.assert_array_equal(units, distances.argmin(axis=1))


def test_the_lowest_unit_wins_a_tie():
    codebook = codebook_of([[9, 9, 9, 9], [1, 0, 0, 0], [-1, 0, 0, 0], [1, 0, 0, 0]])
    assert codebook.assign(np.zeros((1, 4), np.float16)).tolist() == [1]
    assert codebook.assign(np.array([[1, 0, 0, 0]], np.float16)).tolist() == [1]


def test_no_frames_no_units():
    assert codebook_of(np.eye(4)).assign(np.zeros((0, 4), np.float16)).tolist() == []


@pytest.mark.parametrize(
    "change",
    [{"encoder_sha256": "cd" * 32}, {"layer": 7}, {"dimension": 39}, {"frame_rate": 100.0}],
)
def test_features_of_another_encoder_are_refused(change):
    codebook = codebook_of(np.eye(4))
    check_codebook(codebook, METADATA, "features.parquet")
    with pytest.raises(ArtefactError, match=r"features\.parquet: .*codebook 'km'"):
        check_codebook(codebook, replace(METADATA, **change), "features.parquet")


def test_other_files_are_no_codebooks(tmp_path):
    path = tmp_path / "prompt.safetensors"
    write_tensors(path, {"prompt": torch.zeros(2, 2)}, {})
    with pytest.raises(ArtefactError, match="'centroids' is missing"):
        load_codebook(path)
    write_tensors(path, {"centroids": torch.zeros(2, 2)}, {"encoder": "mfcc"})
    with pytest.raises(ArtefactError, match="'encoder_sha256' is missing"):
        load_codebook(path)
    with pytest.raises(ArtefactError, match="absent"):
        load_codebook(tmp_path / "absent.safetensors")


BASE = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("centroids", "message"),
    [
        (np.where(BASE[3, 1] == BASE, np.nan, BASE), "centroid 3 has NaN or infinity"),
        (np.where(BASE[2, 0] == BASE, np.inf, BASE), "centroid 2 has NaN or infinity"),
        (BASE[[0, 1, 2, 1]], "3 distinct of 4"),
        (np.zeros((0, 4), np.float32), r"found float32 \[0, 4\]"),
        (np.zeros((5, 0), np.float32), r"found float32 \[5, 0\]"),
        (BASE[:1], r"found float32 \[1, 4\]"),
        (np.zeros((40_000, 4), np.float32), "expected 2 to 32767"),
        (np.arange(20).reshape(5, 4), "found int64"),
        (BASE[None], r"found float32 \[1, 5, 4\]"),
        (BASE[0], r"found float32 \[4\]"),
        (BASE.astype(np.float64) * 1e300, "NaN or infinity"),
    ],
)
def test_what_cannot_be_a_codebook_is_refused(tmp_path, centroids, message):
    path, out = tmp_path / "km.safetensors", tmp_path / "out.safetensors"
    write_codebook(path, BASE, METADATA, {})
    take_codebook(path, out, features=METADATA)
    write_tensors(path, {"centroids": centroids}, read_tensor_metadata(path))
    for read in (load_codebook, lambda path: take_codebook(path, out, features=METADATA)):
        with pytest.raises(ArtefactError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_a_sample_of_equal_frames_is_refused(tmp_path):
    frames = np.repeat(BASE[:3], 50, axis=0)
    path = write_sample(tmp_path / "sample.parquet", frames)
    assert fit_codebook(path, tmp_path / "out", n_units=3, seed=1).n_units == 3
    with pytest.raises(ArtefactError, match="n_units = 4 distinct frames, found 3 among 150"):
        fit_codebook(path, tmp_path / "out", n_units=4, seed=1)
