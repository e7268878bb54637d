import numpy as np
import pytest
import torch
from torchaudio.models import wav2vec2_model

from speechprompt.encoders import load_encoder
from speechprompt.encoders.batching import encode_in_batches
from speechprompt.encoders.hubert import save_hubert
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.files import read_tensors, write_tensors
from speechprompt.quantize import deduplicate

CONVOLUTIONS = [[32, 10, 5], *[[32, 3, 2]] * 4, *[[32, 2, 2]] * 2]
BASE = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": CONVOLUTIONS,
    "extractor_conv_bias": False,
    "encoder_embed_dim": 48,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 128,
    "encoder_pos_conv_groups": 16,
    "encoder_num_layers": 4,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 96,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.05,
    "normalize_waveform": False,
}
LARGE = BASE | {
    "extractor_mode": "layer_norm",
    "extractor_conv_bias": True,
    "encoder_layer_norm_first": True,
    "normalize_waveform": True,
}
LAYER = 3


def build(config):
    """torchaudio's own model with random weights large enough to tell utterances apart."""
    arguments = {key: value for key, value in config.items() if key != "normalize_waveform"}
    model = wav2vec2_model(**arguments, aux_num_out=None).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name and weight.ndim > 1 and "parametrizations" not in name:
                fan_in = weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) * fan_in**-0.5)
            elif name.endswith("bias"):
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def speech(n_samples, seed):
    """Noise with a slow envelope, so that frames differ over time."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(n_samples) / 16_000
    envelope = 0.05 + (torch.sin(2 * torch.pi * (2 + seed) * time) + 1) / 4
    tone = torch.sin(2 * torch.pi * (200 + 90 * seed) * time)
    return envelope * (tone + 0.3 * torch.randn(n_samples, generator=generator))


@pytest.fixture(scope="module", params=[BASE, LARGE], ids=["group_norm", "layer_norm"])
def model(request, tmp_path_factory):
    """torchaudio's model, its configuration, and the encoder loaded from its file."""
    path = tmp_path_factory.mktemp("hubert") / "model.safetensors"
    torchaudio_model = build(request.param)
    save_hubert(path, torchaudio_model, request.param)
    encoder = load_encoder("hubert", weights=path, layer=LAYER)
    return torchaudio_model, request.param, encoder


@pytest.fixture(scope="module")
def waveforms():
    lengths = [16_000, 4_800, 16_000, 33_333, 700, 200, 9_999, 24_001]
    return [speech(length, seed) for seed, length in enumerate(lengths)]


def torchaudio_features(torchaudio_model, config, waveform):
    if config["normalize_waveform"]:
        waveform = torch.nn.functional.layer_norm(waveform, waveform.shape)
    with torch.inference_mode():
        return torchaudio_model.extract_features(waveform[None], num_layers=LAYER)[0][-1][0]


def test_equals_torchaudio_unpadded(model, waveforms):
    torchaudio_model, config, encoder = model
    for waveform in waveforms:
        if len(waveform) >= encoder.window:
            (frames,) = encoder.encode([waveform])
            expected = torchaudio_features(torchaudio_model, config, waveform)
            torch.testing.assert_close(frames, expected, atol=1e-6, rtol=1e-6)


def test_alone_and_in_a_batch_are_the_same(model, waveforms):
    _, _, encoder = model
    for waveform, frames in zip(waveforms, encoder.encode(waveforms), strict=True):
        (alone,) = encoder.encode([waveform])
        assert frames.shape == (1 + (max(len(waveform), 400) - 400) // 320, 48)
        torch.testing.assert_close(frames, alone, atol=1e-5, rtol=1e-5)


def test_units_do_not_depend_on_the_batch(model, waveforms):
    _, _, encoder = model
    batched = [frames.numpy() for frames in encode_in_batches(encoder, waveforms, 10)]
    alone = [frames.numpy() for frames in encode_in_batches(encoder, waveforms, 0)]
    stacked = np.concatenate(alone)
    centroids = stacked[np.random.default_rng(0).choice(len(stacked), 50, replace=False)]
    for one, other in zip(batched, alone, strict=True):
        units, expected = (
            deduplicate(((frames[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1))[0]
            for frames in (one, other)
        )
        assert units.tolist() == expected.tolist()


def test_torchaudios_own_padded_batch_differs(waveforms):
    """GroupNorm over padding: why the encoder has its own front end, and a check of these tests."""
    torchaudio_model = build(BASE)
    short, long = waveforms[1], waveforms[0]
    batch = torch.stack([torch.nn.functional.pad(short, (0, len(long) - len(short))), long])
    with torch.inference_mode():
        lengths = torch.tensor([len(short), len(long)])
        outputs, n_frames = torchaudio_model.extract_features(batch, lengths, num_layers=LAYER)
    expected = torchaudio_features(torchaudio_model, BASE, short)
    assert (outputs[-1][0, : n_frames[0]] - expected).abs().max() > 1e-2


def test_description(model):
    _, _, encoder = model
    assert (encoder.dimension, encoder.layer, encoder.frame_rate) == (48, LAYER, 50.0)
    assert encoder.window == 400
    assert len(encoder.model.encoder.transformer.layers) == LAYER


def test_an_empty_batch(model):
    assert model[2].encode([]) == []


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_hubert(path, build(BASE), BASE)
    return path


def test_identity_is_weights_and_layer(saved, tmp_path):
    other = tmp_path / "other.safetensors"
    weights, metadata = read_tensors(saved)
    weights["encoder.transformer.layers.0.attention.k_proj.bias"] += 1
    write_tensors(other, weights, metadata)
    hashes = {
        load_encoder("hubert", weights=saved, layer=1).sha256,
        load_encoder("hubert", weights=saved, layer=2).sha256,
        load_encoder("hubert", weights=other, layer=1).sha256,
    }
    assert len(hashes) == 3
    assert load_encoder("hubert", weights=saved, layer=1).sha256 in hashes


@pytest.mark.parametrize("layer", [0, 5])
def test_no_such_layer(saved, layer):
    with pytest.raises(ConfigError, match=f"1 to 4.*found {layer}"):
        load_encoder("hubert", weights=saved, layer=layer)


def change_weights(path, change):
    weights, metadata = read_tensors(path)
    change(weights)
    write_tensors(path, weights, metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # In a layer that is not even run: the file is not what it says it is.
        (
            lambda w: w.pop("encoder.transformer.layers.3.layer_norm.bias"),
            r"missing: encoder\.transformer\.layers\.3\.layer_norm\.bias",
        ),
        (lambda w: w.update(mask_emb=torch.zeros(48)), "surplus: mask_emb"),
        (
            lambda w: w.update({"encoder.transformer.layer_norm.bias": torch.zeros(47)}),
            r"of another shape: encoder\.transformer\.layer_norm\.bias \(47,\) instead of \(48,\)",
        ),
    ],
)
def test_loading_is_strict(saved, change, message):
    change_weights(saved, change)
    with pytest.raises(ArtefactError, match=message):
        load_encoder("hubert", weights=saved, layer=1)


def test_saving_is_strict(tmp_path):
    weights = build(BASE).state_dict()
    weights["label_embs_concat"] = torch.zeros(2, 2)
    with pytest.raises(ArtefactError, match="surplus: label_embs_concat"):
        save_hubert(tmp_path / "model.safetensors", weights, BASE)
    config = {key: value for key, value in BASE.items() if key != "normalize_waveform"}
    with pytest.raises(ArtefactError, match=r"lacks \['normalize_waveform'\]"):
        save_hubert(tmp_path / "model.safetensors", build(BASE), config)
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_foreign_files(saved, tmp_path):
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(saved.read_bytes()[:-100])
    foreign = tmp_path / "foreign.safetensors"
    write_tensors(foreign, {"centroids": torch.zeros(2, 2)}, {"encoder": "mfcc"})
    text = tmp_path / "text.safetensors"
    text.write_text("not a tensor file")
    for path in (truncated, foreign, text, tmp_path / "absent.safetensors"):
        with pytest.raises(ArtefactError, match=path.name):
            load_encoder("hubert", weights=path, layer=1)
