"""Parity with fairseq's own HubertModel, and with torchaudio's importer of it."""

import gc
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from publishing import BASE, CONVOLUTIONS, LARGE, SMALL, build_hubert, flat, publish
from torchaudio.models.wav2vec2.utils import import_fairseq as torchaudio_importer

from speechprompt.encoders import load_encoder
from speechprompt.errors import ArtefactError, AssetError
from speechprompt.models.importing.hubert import import_hubert
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensors

LAYER = 6


def speech(n_samples, seed):
    """Noise with a slow envelope, so that frames differ over time."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(n_samples) / 16_000
    envelope = 0.05 + (torch.sin(2 * torch.pi * (2 + seed) * time) + 1) / 4
    tone = torch.sin(2 * torch.pi * (200 + 90 * seed) * time)
    return envelope * (tone + 0.3 * torch.randn(n_samples, generator=generator))


WAVEFORMS = [speech(length, i) for i, length in enumerate([16_000, 33_333, 9_999, 48_000, 24_001])]


@torch.no_grad()
def fairseq_features(model, waveform, layer, normalize):
    """What fairseq computes of one unpadded utterance, as its HuBERT feature scripts do."""
    if normalize:
        waveform = torch.nn.functional.layer_norm(waveform, waveform.shape)
    features, _ = model.extract_features(waveform[None], mask=False, output_layer=layer)
    return features[0]


def torchaudios_import(model):
    """Weights and configuration by torchaudio, which needs fairseq's model in memory for it."""
    imported = torchaudio_importer.import_fairseq_model(model)
    return imported.state_dict(), torchaudio_importer._parse_config(model)


def assert_equal_to_torchaudios(path, reference, normalize):
    expected, config = reference
    found, metadata = read_tensors(path)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    config["extractor_conv_layer_config"] = [
        list(layer) for layer in config["extractor_conv_layer_config"]
    ]
    assert metadata["config"] == {**config, "normalize_waveform": normalize}


@pytest.fixture(scope="module", params=["base", "large"])
def full_size(request, tmp_path_factory):
    """A model of the published size: fairseq's features, and what the import made of its file."""
    folder = tmp_path_factory.mktemp("hubert")
    large = request.param == "large"
    model, config = build_hubert(normalize=large, **(LARGE if large else BASE))
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert n_parameters == (316_609_408 if large else 94_697_600)
    features = [fairseq_features(model, waveform, LAYER, large) for waveform in WAVEFORMS]
    # fairseq writes the new format by torch's choice; the one before serves the smaller model.
    checkpoint = publish(folder / "model.pt", model.state_dict(), cfg=config, legacy=not large)
    reference = None if large else torchaudios_import(model)
    del model
    gc.collect()
    import_hubert(checkpoint, folder / "hubert.safetensors", sha256=sha256_file(checkpoint))
    yield SimpleNamespace(folder=folder, features=features, reference=reference)
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.slow
def test_full_size_features_equal_fairseqs(full_size):
    encoder = load_encoder("hubert", weights=full_size.folder / "hubert.safetensors", layer=LAYER)
    alone = [encoder.encode([waveform])[0] for waveform in WAVEFORMS]
    batch = encoder.encode(WAVEFORMS)
    stacked = torch.cat(full_size.features)
    assert stacked.std(dim=0).mean() > 0.1  # frames differ, so that equal ones mean something
    chosen = np.random.default_rng(0).choice(len(stacked), 100, replace=False)
    centroids = stacked[np.sort(chosen)]
    expected_units = torch.cdist(stacked, centroids).argmin(dim=1)
    assert len(expected_units.unique()) == 100
    for found in (alone, batch):
        for ours, theirs in zip(found, full_size.features, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
        units = torch.cdist(torch.cat(found), centroids).argmin(dim=1)
        assert (units == expected_units).float().mean() >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize("full_size", ["base"], indirect=True)
def test_full_size_equals_torchaudios_import_and_its_bundle(full_size):
    assert_equal_to_torchaudios(full_size.folder / "hubert.safetensors", full_size.reference, False)
    # torchaudio publishes the same weights as a plain state dict with names of before torch 2.1.
    weights = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in full_size.reference[0].items()
    }
    assert "encoder.transformer.pos_conv_embed.conv.weight_g" in weights
    bundle = full_size.folder / "hubert_fairseq_base_ls960.pth"
    torch.save(weights, bundle)
    import_hubert(bundle, full_size.folder / "bundle.safetensors")
    found, metadata = read_tensors(full_size.folder / "bundle.safetensors")
    for name, tensor in full_size.reference[0].items():
        assert torch.equal(found[name], tensor), name
    _, published = read_tensors(full_size.folder / "hubert.safetensors")
    same = {key: value for key, value in published["config"].items() if "drop" not in key}
    assert same.items() <= metadata["config"].items()


def test_a_bundle_is_told_by_its_width_and_read_strictly(tmp_path):
    weights = {"encoder.feature_projection.projection.weight": torch.zeros(1024, 512)}
    torch.save(weights, tmp_path / "bundle.pth")
    message = r"parameters of a HuBERT of 24 layers.*missing: encoder\.feature_projection\.layer_no"
    with pytest.raises(ArtefactError, match=message):
        import_hubert(tmp_path / "bundle.pth", tmp_path / "bundle.safetensors")


VARIANTS = {
    "base": {},
    "large": {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True},
    "biased": {"conv_bias": True, "conv_pos": 17, "conv_pos_groups": 4, "target_glu": True},
}


@pytest.mark.parametrize("layout", ["cfg", "DictConfig", "args", "mixed"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_and_configuration_equal_torchaudios(tmp_path, variant, layout):
    normalize = variant == "large"
    model, config = build_hubert(normalize, **SMALL, **VARIANTS[variant])
    if layout == "args":
        source = {"args": flat(config)}
    elif layout == "DictConfig":
        omegaconf = pytest.importorskip("omegaconf")
        source = {"cfg": omegaconf.OmegaConf.create(config, flags={"allow_objects": True})}
    else:
        if layout == "mixed":  # as fairseq converts models that have no configuration class
            name = config["model"].pop("_name")
            config["model"] = Namespace(**config["model"], arch=name)
        source = {"cfg": config}
    checkpoint = publish(tmp_path / "model.pt", model.state_dict(), **source)
    out = tmp_path / "out.safetensors"
    import_hubert(checkpoint, out)
    # torchaudio's importer knows no target_glu, which is no part of the encoder.
    model.target_glu = None
    assert_equal_to_torchaudios(out, torchaudios_import(model), normalize)
    encoder = load_encoder("hubert", weights=out, layer=2)
    expected = fairseq_features(model, WAVEFORMS[0], 2, normalize)
    torch.testing.assert_close(encoder.encode(WAVEFORMS[:1])[0], expected, atol=1e-5, rtol=1e-5)
    trusted = tmp_path / "trusted.safetensors"
    import_hubert(checkpoint, trusted, trust=True)
    assert trusted.read_bytes() == out.read_bytes()


def test_a_fine_tuned_model(tmp_path):
    model, config = build_hubert(**SMALL)
    weights = {
        f"w2v_encoder.w2v_model.{name}": tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(("final_proj", "label_embs"))
    }
    weights |= {
        "w2v_encoder.proj.weight": torch.ones(32, 48),
        "w2v_encoder.proj.bias": torch.ones(32),
    }
    reference = torchaudios_import(model)
    out = tmp_path / "out.safetensors"
    task = {"_name": "audio_finetuning", "normalize": False}
    for inner in (config, flat(config)):
        outer = {"model": {"_name": "hubert_ctc", "w2v_args": inner}, "task": task}
        import_hubert(publish(tmp_path / "model.pt", weights, cfg=outer), out)
        assert_equal_to_torchaudios(out, reference, False)
    outer = {"model": {"_name": "hubert_ctc", "w2v_args": None}, "task": task}
    with pytest.raises(ArtefactError, match="setting w2v_args: expected dict, found None"):
        import_hubert(publish(tmp_path / "model.pt", weights, cfg=outer), out)


@pytest.fixture
def attempt(tmp_path):
    """Import a small model after a change; on failure nothing may be written."""

    def run(change_weights=None, change_config=None, sha256=None):
        model, config = build_hubert(**SMALL)
        weights = dict(model.state_dict())
        (change_weights or (lambda w: None))(weights)
        (change_config or (lambda c: None))(config)
        path = publish(tmp_path / "model.pt", weights, cfg=config)
        try:
            import_hubert(path, tmp_path / "out.safetensors", sha256=sha256)
        except (ArtefactError, AssetError):
            assert [found.name for found in tmp_path.iterdir()] == ["model.pt"]
            raise

    return run


def test_the_source_is_in_the_metadata(attempt, tmp_path):
    attempt()
    _, metadata = read_tensors(tmp_path / "out.safetensors")
    found = {"file": "model.pt", "sha256": sha256_file(tmp_path / "model.pt")}
    assert metadata["source"] == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("encoder.layers.1.fc1.bias"),
            r"model\.pt: expected the [\d,]+ parameters of a HuBERT of 3 layers of 48 dimensions "
            r"\(group_norm\), found [\d,]+; missing: encoder\.layers\.1\.fc1\.bias",
        ),
        (lambda w: w.update(quantizer=torch.zeros(3)), r"; surplus: quantizer$"),
        (
            lambda w: w.update({"encoder.layers.2.fc1.bias": torch.zeros(95)}),
            r"of another shape: encoder\.layers\.2\.fc1\.bias \(95,\) instead of \(96,\)",
        ),
        (lambda w: w.update(vocabulary="abc"), "expected named weights, found str as 'vocabulary'"),
    ],
)
def test_weights_that_do_not_fit(attempt, change, message):
    with pytest.raises(ArtefactError, match=message):
        attempt(change_weights=change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(encoder_layers=4), r"missing: encoder\.layers\.3\."),
        (lambda m: m.update(encoder_layers=2), r"surplus: encoder\.layers\.2\."),
        (lambda m: m.update(layer_type="conformer"), "layer_type: expected 'transformer', found"),
        (lambda m: m.update(activation_fn="relu"), "activation_fn: expected 'gelu', found 'relu'"),
        (lambda m: m.update(_name="wav2vec2"), "expected a HuBERT, found 'wav2vec2'"),
        (lambda m: m.update(extractor_mode="x"), "extractor_mode: expected one of default, layer_"),
        (lambda m: m.pop("encoder_attention_heads"), "encoder_attention_heads: expected int, fou"),
        (lambda m: m.update(layer_norm_first=0), "layer_norm_first: expected bool, found 0"),
        (lambda m: m.update(conv_bias=True), r"missing: feature_extractor\.conv_layers\.0\.0\.bia"),
        (lambda m: m.update(encoder_attention_heads=5), "impossible HuBERT configuration"),
    ],
)
def test_settings_that_do_not_fit(attempt, change, message):
    with pytest.raises(ArtefactError, match=message):
        attempt(change_config=lambda config: change(config["model"]))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "[(512,10,5)] * 1000000000",
        "[(512,10)]",
        "[(512,10,5.0)]",
        "(lambda: [(1,2,3)])()",
        "[[",
        "(" * 1000,
        "7",
    ],
)
def test_convolutions_are_no_program(attempt, text):
    def change(config):
        config["model"]["conv_feature_layers"] = text

    with pytest.raises(ArtefactError, match="setting conv_feature_layers: expected a text such as"):
        attempt(change_config=change)


def test_a_wrong_sum(attempt):
    with pytest.raises(AssetError, match=f"expected the SHA-256 {'0' * 64}, found [0-9a-f]{{64}}"):
        attempt(sha256="0" * 64)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"model": {}}, "expected a fairseq checkpoint with `args` or `cfg`, found NoneType"),
        ({"model": {}, "cfg": {"model": {}}}, r"found NoneType as `cfg\.task`"),
        ({"a": torch.ones(2)}, "or the weights of one of torchaudio's HUBERT_BASE, HUBERT_LARGE"),
        (torch.ones(2), "expected named weights, found Tensor"),
    ],
)
def test_other_files(tmp_path, state, message):
    path = tmp_path / "model.pt"
    torch.save(state, path)
    with pytest.raises(ArtefactError, match=message):
        import_hubert(path, tmp_path / "out.safetensors")


def test_settings_that_contain_themselves(tmp_path):
    loop = {"_name": "hubert"}
    loop["loop"] = loop
    torch.save({"model": {}, "cfg": {"model": loop, "task": {}}}, tmp_path / "model.pt")
    with pytest.raises(ArtefactError, match="nested more than"):
        import_hubert(tmp_path / "model.pt", tmp_path / "out.safetensors")


def test_convolutions_as_published():
    from speechprompt.models.importing.hubert import _convolutions

    expected = [[512, 10, 5], *[[512, 3, 2]] * 4, *[[512, 2, 2]] * 2]
    assert _convolutions(CONVOLUTIONS.format(512), "file") == expected
