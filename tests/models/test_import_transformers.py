"""Parity with transformers on folders that transformers itself writes."""

import math

import pytest
import torch

from mock_gpu import mock_gpu
from speechprompt.cli import main
from speechprompt.encoders import load_encoder
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensor_header, read_tensor_metadata
from transformers_encoders import (
    LARGE,
    MODELS,
    N_LAYERS,
    SMALL,
    build,
    preprocessor,
    speech,
    write,
)

WAVEFORMS = [speech(length, i) for i, length in enumerate([16_000, 33_333, 9_999, 16_000, 90_001])]


@torch.no_grad()
def their_states(model, waveform, normalize):
    """What transformers' preprocessor and model make of one utterance: ``hidden_states``."""
    values = preprocessor(normalize)(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    return torch.cat(model(values.input_values, output_hidden_states=True).hidden_states)


@pytest.fixture(scope="module", params=MODELS)
def imported(request, tmp_path_factory):
    """transformers' model, whether it normalises, and the file that the import made of it."""
    kind, settings, normalize = MODELS[request.param]
    folder = tmp_path_factory.mktemp("transformers")
    model = build(kind, SMALL | settings)
    write(model, folder / "theirs", normalize)
    out = folder / "ours.safetensors"
    assert main([f"import-{kind}", str(folder / "theirs"), "--out", str(out)]) == 0
    return kind, model, normalize, out


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_every_layer_alone_and_in_a_batch(imported):
    kind, model, normalize, out = imported
    encoder = load_encoder(kind, weights=out, every_layer=True)
    assert encoder.frame_rate == 16_000 / model.config.inputs_to_logits_ratio
    batch = encoder.encode_states(WAVEFORMS)
    for waveform, together in zip(WAVEFORMS, batch, strict=True):
        (alone,) = encoder.encode_states([waveform])
        expected = their_states(model, waveform, normalize)
        assert expected.std(dim=1).mean() > 0.1  # frames differ, so that equal ones mean something
        close(alone, expected)
        assert torch.equal(alone, together)


def test_every_layer_in_a_padded_batch(imported):
    """On an accelerator utterances of similar length are padded."""
    kind, model, normalize, out = imported
    waveforms = [speech(16_000 - 500 * i, i) for i in range(6)]
    with mock_gpu() as device:
        encoder = load_encoder(kind, weights=out, every_layer=True, device=device)
        padded = [states.cpu() for states in encoder.encode_states(waveforms)]
    for waveform, found in zip(waveforms, padded, strict=True):
        close(found, their_states(model, waveform, normalize))


def test_transformers_own_padded_batch(imported):
    """Where norms do not reach over the padding, its own padded batch gives the same, too."""
    kind, model, normalize, out = imported
    if model.config.feat_extract_norm != "layer":
        pytest.skip("the norm over time makes its padded batches differ")
    values = preprocessor(normalize)(
        [waveform.numpy() for waveform in WAVEFORMS],
        sampling_rate=16_000,
        return_tensors="pt",
        padding=True,
    )
    with torch.no_grad():
        theirs = model(**values, output_hidden_states=True).hidden_states[2]
    ours = load_encoder(kind, weights=out, layer=2).encode(WAVEFORMS)
    for found, expected in zip(ours, theirs, strict=True):
        close(found, expected[: len(found)])


@pytest.mark.parametrize("layer", range(1, N_LAYERS + 1))
def test_a_layer_is_that_of_hidden_states(imported, layer):
    """It is the sum after the residual connection; the encoder's final norm is no part of it."""
    kind, model, normalize, out = imported
    (found,) = load_encoder(kind, weights=out, layer=layer).encode(WAVEFORMS[:1])
    close(found, their_states(model, WAVEFORMS[0], normalize)[layer])
    if layer == N_LAYERS and model.config.do_stable_layer_norm:
        values = preprocessor(normalize)(
            WAVEFORMS[0].numpy(), sampling_rate=16_000, return_tensors="pt"
        )
        with torch.no_grad():
            normed = model(values.input_values).last_hidden_state[0]
            close(model.encoder.layer_norm(found), normed)
        assert (found - normed).abs().max() > 0.1


def test_the_sources_are_in_the_metadata(imported):
    _, _, _, out = imported
    source = read_tensor_metadata(out)["source"]
    names = ("config.json", "preprocessor_config.json", "model.safetensors")
    sums = {name: sha256_file(out.parent / "theirs" / name) for name in names}
    assert source == {"folder": "theirs", "sha256": sums}


# The published sizes, as transformers' own configurations have them.
FULL_SIZE = {
    "hubert-base": ("hubert", {}, False, 94_370_944),
    "hubert-large": (
        "hubert",
        {
            **{"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
            **{"intermediate_size": 4096, **LARGE},
        },
        True,
        315_437_696,
    ),
    "wav2vec2-base": ("wav2vec2", {}, True, 94_370_944),
    "wavlm-base": ("wavlm", {}, False, 94_381_168),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size(name, tmp_path):
    kind, settings, normalize, n_parameters = FULL_SIZE[name]
    model = build(kind, settings)
    out = tmp_path / "ours.safetensors"
    theirs = write(model, tmp_path / "theirs", normalize)
    waveforms = WAVEFORMS[:3]
    expected = [their_states(model, waveform, normalize) for waveform in waveforms]
    del model
    assert main([f"import-{kind}", str(theirs), "--out", str(out)]) == 0
    shapes = [tensor["shape"] for tensor in read_tensor_header(out)[0].values()]
    assert sum(map(math.prod, shapes)) == n_parameters
    encoder = load_encoder(kind, weights=out, every_layer=True)
    together = encoder.encode_states(waveforms)
    for waveform, batched, states in zip(waveforms, together, expected, strict=True):
        assert states.std(dim=1).mean() > 0.1
        close(batched, states)
        close(encoder.encode_states([waveform])[0], states)
