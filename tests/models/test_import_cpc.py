"""GSLM's CPC checkpoint as a file, to the encoder's own: what is read of it, and what refused."""

from argparse import Namespace

import pytest
import torch
from publishing import Bomb, check_that_it_works

from random_cpc import SMALL, random_weights
from speechprompt.encoders import load_encoder
from speechprompt.encoders.cpc import CPC
from speechprompt.errors import ArtefactError, AssetError
from speechprompt.models.importing.cpc import cpc_from_checkpoint, import_cpc
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensors

TWO_LAYERS = SMALL | {"nLevelsGRU": 2}
CONFIG = TWO_LAYERS | {"arMode": "LSTM"}


@pytest.mark.parametrize("config", [CONFIG, Namespace(**CONFIG)], ids=["dict", "Namespace"])
@pytest.mark.parametrize("trust", [False, True])
def test_a_published_checkpoint(tmp_path, config, trust):
    path, out = tmp_path / "cpc.pt", tmp_path / "cpc.safetensors"
    torch.save({"weights": random_weights(TWO_LAYERS), "config": config, "optimizer": {}}, path)
    sha256 = sha256_file(path)
    import_cpc(path, out, sha256=sha256, trust=trust)
    tensors, metadata = read_tensors(out)
    assert metadata["source"] == {"file": "cpc.pt", "sha256": sha256}
    for name, tensor in random_weights(TWO_LAYERS).items():
        assert torch.equal(tensors[name], tensor), name
    (frames,) = load_encoder("cpc", weights=out, layer=2).encode([torch.randn(16_000)])
    assert frames.shape == (100, 16)


def test_what_is_refused(tmp_path):
    path, out = tmp_path / "cpc.pt", tmp_path / "cpc.safetensors"
    bomb = Bomb(tmp_path / "went-off")
    check_that_it_works(bomb)
    torch.save({"weights": random_weights(TWO_LAYERS), "config": bomb}, path)
    with pytest.raises(AssetError, match=r"cpc\.pt: refused.*system"):
        import_cpc(path, out)
    with pytest.raises(AssetError, match="expected the SHA-256 0"):
        import_cpc(path, out, sha256="0" * 64, trust=True)
    assert not bomb.path.exists()
    torch.save([1, 2], path)
    with pytest.raises(ArtefactError, match="expected a CPC checkpoint, found list"):
        import_cpc(path, out)
    torch.save({"weights": random_weights(TWO_LAYERS), "config": CONFIG}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AssetError, match=r"cpc\.pt"):
        import_cpc(path, out)
    assert not out.exists()


PUBLISHED_CONFIG = SMALL | {
    "arMode": "LSTM",
    "normMode": "layerNorm",
    "encoder_type": "cpc",
    "cpc_mode": None,
    "learningRate": 2e-4,
    "pathDB": "audio",
}


@pytest.mark.parametrize("config", [PUBLISHED_CONFIG, Namespace(**PUBLISHED_CONFIG)])
@pytest.mark.parametrize("key", ["weights", "best"])
def test_a_checkpoint_becomes_the_encoders_file(tmp_path, key, config):
    heads = {
        "PhoneCriterionClassifier.weight": torch.zeros(3, 16),
        "wPrediction.predictors.0.weight": torch.zeros(3, 16),
    }
    training = {"cpcCriterion": {}, "optimizer": {}, "gEncoder": {}}
    state = {key: random_weights(SMALL) | heads, "config": config, **training}
    weights, architecture = cpc_from_checkpoint(state)
    assert architecture == SMALL
    CPC.write(tmp_path / "model.safetensors", weights, architecture)
    expected = tmp_path / "expected.safetensors"
    CPC.write(expected, random_weights(SMALL), SMALL)
    assert (tmp_path / "model.safetensors").read_bytes() == expected.read_bytes()


def checkpoint(**changes):
    weights = random_weights(SMALL)
    return {"weights": weights, "config": dict(PUBLISHED_CONFIG)} | changes


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"model": {}, "args": {}}, r"expected .*`weights` or `best`.*\['args', 'model'\]"),
        ({"weights": {}}, r"`config`, found the keys \['weights'\]"),
        ({"best": None, "config": SMALL}, "named tensors under `weights` or `best`"),
        (checkpoint(model={}), r"found also \['model'\]"),
        (checkpoint(config={"hiddenEncoder": 24}), r"lacks \['hiddenGar', 'nLevelsGRU'\]"),
        (checkpoint(config=None), r"lacks \['hiddenEncoder'"),
        (checkpoint(config=PUBLISHED_CONFIG | {"arMode": "GRU"}), "arMode: .*'LSTM', found 'GRU'"),
        (checkpoint(config=PUBLISHED_CONFIG | {"cpc_mode": "reverse"}), "cpc_mode: .*'reverse'"),
        (checkpoint(config=PUBLISHED_CONFIG | {"nLevelsGRU": 2}), r"surplus: gAR\.baseNet\.bias_"),
        (checkpoint(config=PUBLISHED_CONFIG | {"nLevelsGRU": 4}), r"missing: gAR\.baseNet\.bias_"),
        (
            checkpoint(weights=random_weights(SMALL) | {"gAR.hidden": torch.zeros(1)}),
            r"my\.pt: .*surplus: gAR\.hidden",
        ),
        (
            checkpoint(weights=random_weights(SMALL) | {"gEncoder.conv0.bias": 1.0}),
            r"expected tensors under `weights`, found others: \['gEncoder\.conv0\.bias'\]",
        ),
    ],
)
def test_checkpoints_are_mapped_strictly(state, message):
    with pytest.raises(ArtefactError, match=message):
        cpc_from_checkpoint(state, "my.pt")
