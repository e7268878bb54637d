"""Models that are there already: shipped with the package, or of another set-up."""

import json

import numpy as np
import pytest

from random_models import CODEBOOK, write_lm
from speechprompt.cli import main
from speechprompt.encoders import load_encoder
from speechprompt.errors import ArtefactError
from speechprompt.models import shipped
from speechprompt.models.shipped import SHIPPED, shipped_model
from speechprompt.storage.hashes import sha256_file
from speechprompt.units.codebook import load_codebook, write_codebook
from speechprompt.units.feature_files import FeatureMetadata


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def codebook(tmp_path):
    """A codebook of MFCC."""
    path = tmp_path / "codebook.safetensors"
    features = FeatureMetadata.of(load_encoder("mfcc"))
    centroids = np.random.default_rng(0).standard_normal((20, features.dimension))
    write_codebook(path, centroids, features, {})
    return path


def test_shipped_models_are_what_was_shipped():
    for name in SHIPPED:
        assert sha256_file(shipped_model(name)) == SHIPPED[name]


@pytest.mark.parametrize("n_units", [50, 100, 200])
def test_shipped_codebooks_are_of_the_encoder_that_ships(n_units):
    encoder = load_encoder("hubert", weights=shipped_model("hubert-nano.safetensors"), layer=4)
    codebook = load_codebook(shipped_model(f"hubert-nano-{n_units}.safetensors"))
    assert codebook.features == FeatureMetadata.of(encoder)
    assert len(codebook.centroids) == n_units


def test_a_shipped_model_that_changed_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    monkeypatch.setattr(shipped, "SHIPPED", {"m.safetensors": "0" * 64})
    with pytest.raises(ArtefactError, match=r"m\.safetensors: missing"):
        shipped_model("m.safetensors")
    (tmp_path / "m.safetensors").write_bytes(b"other")
    with pytest.raises(ArtefactError, match=r"expected sha256 0{64}, found"):
        shipped_model("m.safetensors")
    with pytest.raises(ArtefactError, match=r"one of m\.safetensors, found 'n'"):
        shipped_model("n")
    assert run("copy-shipped", "m.safetensors", "--out", tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()
    assert "install the package again" in capsys.readouterr().err


def test_a_codebook_is_taken_as_it_is(codebook, tmp_path, capsys):
    out = tmp_path / "taken.safetensors"
    words = ("take-codebook", codebook, "--out", out, "--encoder")
    assert run(*words, json.dumps({"kind": "logmel"})) == 1
    assert "expected features of the encoder that codebook" in capsys.readouterr().err
    assert not out.exists()
    assert run(*words, json.dumps({"kind": "mfcc"})) == 0
    assert out.read_bytes() == codebook.read_bytes()


def test_a_unit_lm_is_taken_with_its_codebook(codebook, tmp_path, capsys):
    out, lm = tmp_path / "taken.safetensors", write_lm(tmp_path / "lm.safetensors")
    words = ("take-unit-lm", lm, "--codebook", codebook, "--out", out)
    assert run(*words) == 1
    assert f"trained on units of codebook {CODEBOOK}" in capsys.readouterr().err
    assert not out.exists()
