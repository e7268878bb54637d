"""GSLM's CPC checkpoint as a file, to the encoder's own (its mapping: tests of the encoder)."""

from argparse import Namespace

import pytest
import torch
from publishing import Bomb, check_that_it_works

from speechprompt.encoders import load_encoder
from speechprompt.errors import ArtefactError, AssetError
from speechprompt.models.importing.cpc import import_cpc
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensors

CONFIG = {"hiddenEncoder": 24, "hiddenGar": 16, "nLevelsGRU": 2, "arMode": "LSTM"}


def weights():
    """Names and shapes of a small model: five convolutions with their norms, and an LSTM."""
    generator = torch.Generator().manual_seed(0)
    shapes = {}
    for number, kernel in enumerate((10, 8, 4, 4, 4)):
        shapes[f"gEncoder.conv{number}.weight"] = (24, 24 if number else 1, kernel)
        shapes[f"gEncoder.conv{number}.bias"] = (24,)
        shapes[f"gEncoder.batchNorm{number}.weight"] = (1, 24, 1)
        shapes[f"gEncoder.batchNorm{number}.bias"] = (1, 24, 1)
    for name, parameter in torch.nn.LSTM(24, 16, 2).named_parameters():
        shapes[f"gAR.baseNet.{name}"] = tuple(parameter.shape)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("config", [CONFIG, Namespace(**CONFIG)], ids=["dict", "Namespace"])
@pytest.mark.parametrize("trust", [False, True])
def test_a_published_checkpoint(tmp_path, config, trust):
    path, out = tmp_path / "cpc.pt", tmp_path / "cpc.safetensors"
    torch.save({"weights": weights(), "config": config, "optimizer": {}}, path)
    sha256 = sha256_file(path)
    import_cpc(path, out, sha256=sha256, trust=trust)
    tensors, metadata = read_tensors(out)
    assert metadata["source"] == {"file": "cpc.pt", "sha256": sha256}
    for name, tensor in weights().items():
        assert torch.equal(tensors[name], tensor), name
    (frames,) = load_encoder("cpc", weights=out, layer=2).encode([torch.randn(16_000)])
    assert frames.shape == (100, 16)


def test_what_is_refused(tmp_path):
    path, out = tmp_path / "cpc.pt", tmp_path / "cpc.safetensors"
    bomb = Bomb(tmp_path / "went-off")
    check_that_it_works(bomb)
    torch.save({"weights": weights(), "config": bomb}, path)
    with pytest.raises(AssetError, match=r"cpc\.pt: refused.*system"):
        import_cpc(path, out)
    with pytest.raises(AssetError, match="expected the SHA-256 0"):
        import_cpc(path, out, sha256="0" * 64, trust=True)
    assert not bomb.path.exists()
    torch.save([1, 2], path)
    with pytest.raises(ArtefactError, match="expected a CPC checkpoint, found list"):
        import_cpc(path, out)
    torch.save({"weights": weights(), "config": CONFIG}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AssetError, match=r"cpc\.pt"):
        import_cpc(path, out)
    assert not out.exists()
