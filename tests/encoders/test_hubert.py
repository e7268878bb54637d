import hashlib
import json

import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans
from torchaudio.models import wav2vec2_model

from speechprompt.encoders import linear, load_encoder
from speechprompt.encoders.base import encode_in_batches
from speechprompt.encoders.hubert import HUBERT
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensors, write_tensors
from speechprompt.units.quantization import deduplicate

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
    HUBERT.write(path, torchaudio_model, request.param)
    encoder = load_encoder("hubert", weights=path, layer=LAYER)
    return torchaudio_model, request.param, encoder, path


@pytest.fixture(scope="module")
def in_bf16(model):
    return load_encoder("hubert", weights=model[3], layer=LAYER, precision="bf16")


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
    torchaudio_model, config, encoder, _ = model
    for waveform in waveforms:
        if len(waveform) >= encoder.window:
            (frames,) = encoder.encode([waveform])
            expected = torchaudio_features(torchaudio_model, config, waveform)
            torch.testing.assert_close(frames, expected, atol=5e-5, rtol=0)


def test_alone_and_in_a_batch_are_the_same_bits(model, in_bf16, waveforms):
    for encoder in (model[2], in_bf16):
        for waveform, frames in zip(waveforms, encoder.encode(waveforms), strict=True):
            (alone,) = encoder.encode([waveform])
            assert frames.shape == (1 + (max(len(waveform), 400) - 400) // 320, 48)
            assert frames.dtype == torch.float32
            assert torch.equal(frames, alone)


def test_batches_over_several_blocks_are_the_same_bits(model, in_bf16):
    many = [speech(16_000 + 1000 * seed, seed) for seed in range(20)]  # 1,500 frames
    for encoder in (model[2], in_bf16):
        frames = encoder.encode(many)
        for seed in (0, 7, 19):
            assert torch.equal(frames[seed], encoder.encode([many[seed]])[0])


def test_bf16_is_close_and_nearly_all_units_are_those_of_fp32(model, in_bf16, waveforms):
    exact, fast = (torch.cat(encoder.encode(waveforms)) for encoder in (model[2], in_bf16))
    assert not torch.equal(exact, fast)
    torch.testing.assert_close(fast, exact, atol=0.2, rtol=0)
    codebook = MiniBatchKMeans(20, random_state=0, n_init=3).fit(exact.numpy())
    expected, units = (codebook.predict(frames.numpy()) for frames in (exact, fast))
    assert (units == expected).mean() >= 0.99


def test_without_onednn_the_frames_are_the_same_within_rounding(
    model, in_bf16, waveforms, monkeypatch
):
    monkeypatch.setattr(linear, "_has_onednn", lambda weight: False)
    for encoder, tolerance in ((model[2], 1e-5), (in_bf16, 0.2)):
        plain = load_encoder("hubert", weights=model[3], layer=LAYER, precision=encoder.precision)
        for frames, expected in zip(
            plain.encode(waveforms), encoder.encode(waveforms), strict=True
        ):
            torch.testing.assert_close(frames, expected, atol=tolerance, rtol=0)


def test_units_do_not_depend_on_the_batch(model, waveforms):
    encoder = load_encoder("hubert", weights=model[3], layer=LAYER, batch_seconds=10)
    batched = [frames.numpy() for frames in encode_in_batches(encoder, waveforms)]
    encoder.batch_seconds = 0
    alone = [frames.numpy() for frames in encode_in_batches(encoder, waveforms)]
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
    encoder = model[2]
    assert (encoder.dimension, encoder.layer, encoder.frame_rate) == (48, LAYER, 50.0)
    assert encoder.window == 400
    assert len(encoder.model.layers) == LAYER


def test_an_empty_batch(model):
    assert model[2].encode([]) == []


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    HUBERT.write(path, build(BASE), BASE)
    return path


def test_identity_is_weights_layer_and_precision(saved, tmp_path):
    other = tmp_path / "other.safetensors"
    weights, metadata = read_tensors(saved)
    weights["encoder.transformer.layers.0.attention.k_proj.bias"] += 1
    write_tensors(other, weights, metadata)
    hashes = {
        load_encoder("hubert", weights=saved, layer=1).sha256,
        load_encoder("hubert", weights=saved, layer=2).sha256,
        load_encoder("hubert", weights=other, layer=1).sha256,
        load_encoder("hubert", weights=saved, layer=1, precision="bf16").sha256,
    }
    assert len(hashes) == 4
    assert load_encoder("hubert", weights=saved, layer=1).sha256 in hashes
    # As it was before there was a choice: features and codebooks of fp32 stay valid.
    identity = {"kind": "hubert", "layer": 1, "weights": sha256_file(saved)}
    expected = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    assert load_encoder("hubert", weights=saved, layer=1, precision="fp32").sha256 == expected


def test_no_such_precision(saved):
    with pytest.raises(ConfigError, match="precision: expected one of fp32, bf16, found 'auto'"):
        load_encoder("hubert", weights=saved, layer=1, precision="auto")


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
        HUBERT.write(tmp_path / "model.safetensors", weights, BASE)
    config = {key: value for key, value in BASE.items() if key != "normalize_waveform"}
    with pytest.raises(ArtefactError, match=r"lacks \['normalize_waveform'\]"):
        HUBERT.write(tmp_path / "model.safetensors", build(BASE), config)
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


def test_states_are_what_torchaudios_layers_read_and_give(model, waveforms):
    torchaudio_model, config, encoder, path = model
    every = load_encoder("hubert", weights=path, layer=LAYER, every_layer=True)
    assert (every.layer, every.n_states, encoder.n_states) == (4, 5, LAYER + 1)
    states = every.encode_states(waveforms)
    for waveform, found in zip(waveforms, states, strict=True):
        assert torch.equal(found, every.encode_states([waveform])[0])
        assert torch.equal(found[-1], every.encode([waveform])[0])
        assert torch.equal(found[: LAYER + 1], encoder.encode_states([waveform])[0])
        if len(waveform) < every.window:
            continue
        if config["normalize_waveform"]:
            waveform = torch.nn.functional.layer_norm(waveform, waveform.shape)
        with torch.inference_mode():
            features, _ = torchaudio_model.feature_extractor(waveform[None], None)
            inputs = torchaudio_model.encoder.feature_projection(features)
            first = torchaudio_model.encoder.transformer._preprocess(inputs)
            layers = torchaudio_model.extract_features(waveform[None])[0]
        expected = torch.cat([first, *layers])
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)
