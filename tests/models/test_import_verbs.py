"""The verbs, one after the other: an encoder, its codebook, the unit LM of that codebook."""

import json

import joblib
import numpy as np
import pytest
import torch
from publishing import (
    SMALL,
    SMALL_LM,
    Bomb,
    build_hubert,
    build_lm,
    layouts,
    publish,
    write_dictionary,
)
from sklearn.cluster import KMeans

from speechprompt.cli import main
from speechprompt.encoders import load_encoder
from speechprompt.errors import ArtefactError
from speechprompt.lm import load_lm
from speechprompt.storage.hashes import sha256_file
from speechprompt.units.codebook import load_codebook

N_UNITS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What is published, all of it small."""
    folder = tmp_path_factory.mktemp("published")
    hubert, config = build_hubert(**SMALL)
    publish(folder / "hubert.pt", hubert.state_dict(), cfg=config)
    frames = np.random.default_rng(0).standard_normal((500, 48)).astype(np.float32)
    joblib.dump(KMeans(N_UNITS, n_init=1).fit(frames), folder / "km.bin")
    dictionary = write_dictionary(folder / "dict.txt", range(N_UNITS))
    lm, settings = build_lm(dictionary, **SMALL_LM)
    source = layouts(settings, SMALL_LM["longest"])["cfg"]
    publish(folder / "lm.pt", lm.state_dict(), **source)
    return folder


def run(*words):
    return main([str(word) for word in words])


def test_from_published_files_to_the_pipelines_own(folder, tmp_path):
    hubert, codebook, lm = (tmp_path / f"{name}.safetensors" for name in ("hubert", "km", "lm"))
    sha256 = sha256_file(folder / "hubert.pt")
    assert run("import-hubert", folder / "hubert.pt", "--out", hubert, "--sha256", sha256) == 0
    settings = {"kind": "hubert", "weights": str(hubert), "layer": 2, "batch_seconds": 40}
    words = ("import-codebook", folder / "km.bin", "--out", codebook)
    assert run(*words, "--encoder", json.dumps(settings)) == 0
    words = ("import-unit-lm", folder / "lm.pt", "--dictionary", folder / "dict.txt", "--out", lm)
    assert run(*words, "--codebook", codebook) == 0
    encoder = load_encoder("hubert", weights=hubert, layer=2)
    loaded = load_codebook(codebook)
    assert loaded.features.encoder_sha256 == encoder.sha256
    assert loaded.assign(encoder.encode([torch.randn(16_000)])[0].numpy()).max() < N_UNITS
    assert load_lm(lm, loaded.sha256).dictionary.n_units == N_UNITS
    assert run(*words, "--codebook", folder / "dict.txt") == 0  # of ready units
    with pytest.raises(ArtefactError, match="the codebook"):
        load_lm(lm, loaded.sha256)


def test_what_is_wrong_is_one_message(folder, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    bomb = Bomb(tmp_path / "went-off")
    torch.save({"model": {}, "args": bomb}, tmp_path / "bad.pt")
    refused = (
        (("import-hubert", tmp_path / "bad.pt", "--out", out), "refused"),
        (("import-cpc", tmp_path / "bad.pt", "--out", out), "refused"),
        (("import-hubert", folder / "hubert.pt", "--out", out, "--sha256", "0"), "the SHA-256"),
        (("import-hubert", folder / "km.bin", "--out", out), "km.bin: cannot be read as a check"),
        (
            ("import-unit-lm", folder / "lm.pt", "--codebook", folder / "dict.txt", "--out", out),
            "needs its dict.txt",
        ),
    )
    for words, message in refused:
        assert run(*words) == 1
        printed = capsys.readouterr().err
        assert message in printed
        assert "Traceback" not in printed
    assert not out.exists()
    assert not bomb.path.exists()
    assert run("import-hubert", tmp_path / "bad.pt", "--out", out, "--trust") == 1
    assert bomb.path.exists()
