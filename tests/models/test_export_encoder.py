"""What transformers opens: our encoders give the same frames and units there."""

import json

import numpy as np
import pytest
import torch
import transformers

from speechprompt.cli import main
from speechprompt.encoders import load_encoder
from speechprompt.models.shipped import shipped_model
from speechprompt.storage.tensors import read_tensor_metadata, read_tensors, write_tensors
from speechprompt.units.codebook import load_codebook, write_codebook
from speechprompt.units.feature_files import FeatureMetadata
from transformers_encoders import CLASSES, MODELS, SMALL, build, speech, write

WAVEFORMS = [speech(length, seed) for seed, length in enumerate([16_000, 40_001])]


def export(*words):
    return main(["export-encoder", *map(str, words)])


@torch.no_grad()
def opened_states(folder, kind, waveform, epsilon=None):
    """Hidden states of the folder's model for what the folder's preprocessor gives.

    Args:
        folder: the folder.
        kind: kind of the encoder.
        waveform: the samples.
        epsilon: added to the variance in place of what the preprocessor adds.
    """
    name = f"{CLASSES[kind]}Model"
    model, loading = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values()), loading
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    values = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    if epsilon is not None:
        assert extractor.do_normalize
        values = torch.nn.functional.layer_norm(waveform, waveform.shape, eps=epsilon)[None]
    return torch.cat(model.eval()(values, output_hidden_states=True).hidden_states)


def test_the_shipped_hubert_and_its_codebook(tmp_path):
    weights, out = shipped_model("hubert-nano.safetensors"), tmp_path / "out"
    codebook = shipped_model("hubert-nano-100.safetensors")
    assert export(weights, "--codebook", codebook, "--out", out) == 0
    layer = json.loads((out / "config.json").read_text())["unit_layer"]
    ours = load_encoder("hubert", weights=weights, every_layer=True)
    book = load_codebook(codebook)
    centroids = np.load(out / "codebook.npy")
    assert centroids.dtype == np.float32
    assert np.array_equal(centroids, book.centroids)
    for waveform in WAVEFORMS:
        # It was trained with fairseq's epsilon, which transformers cannot be told.
        states = opened_states(out, "hubert", waveform, epsilon=1e-5)
        (expected,) = ours.encode_states([waveform])
        torch.testing.assert_close(states, expected, atol=1e-4, rtol=0)
        (frames,) = load_encoder("hubert", weights=weights, layer=layer).encode([waveform])
        units = book.assign(frames.numpy())
        theirs = torch.cdist(states[layer], torch.from_numpy(centroids)).argmin(dim=1)
        assert (theirs.numpy() == units).mean() > 0.99
        states = opened_states(out, "hubert", waveform)
        theirs = torch.cdist(states[layer], torch.from_numpy(centroids)).argmin(dim=1)
        assert (theirs.numpy() == units).mean() > 0.9


@pytest.mark.parametrize("name", MODELS)
def test_what_was_imported_comes_out_as_it_was(name, tmp_path):
    """The weights are the same, and so is the file of a second import."""
    kind, settings, normalize = MODELS[name]
    model = build(kind, SMALL | settings)
    theirs = write(model, tmp_path / "theirs", normalize)
    ours, out = tmp_path / "ours.safetensors", tmp_path / "out"
    assert main([f"import-{kind}", str(theirs), "--out", str(ours)]) == 0
    assert export(ours, "--out", out) == 0
    opened = getattr(transformers, f"{CLASSES[kind]}Model").from_pretrained(out)
    expected, found = model.state_dict(), opened.state_dict()
    del expected["masked_spec_embed"]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[weight], expected[weight]) for weight in expected)
    again = tmp_path / "again.safetensors"
    assert main([f"import-{kind}", str(out), "--out", str(again)]) == 0
    assert read_tensor_metadata(again)["config"] == read_tensor_metadata(ours)["config"]
    if name != "hubert-large":  # one of those whose waveforms are normalised is enough
        return
    states = load_encoder(kind, weights=ours, every_layer=True).encode_states(WAVEFORMS)
    for waveform, expected in zip(WAVEFORMS, states, strict=True):
        torch.testing.assert_close(opened_states(out, kind, waveform), expected, atol=1e-4, rtol=0)


def test_what_is_refused(tmp_path, capsys):
    weights = shipped_model("hubert-nano.safetensors")

    def refusal(*words):
        assert export(*words) == 1
        return capsys.readouterr().err

    out = tmp_path / "out"
    lm = shipped_model("unit-lm-nano.safetensors")
    assert "expected the weights of one of hubert, wav2vec2, wavlm" in refusal(lm, "--out", out)
    features = FeatureMetadata.of(load_encoder("mfcc"))
    other = tmp_path / "mfcc.safetensors"
    write_codebook(other, np.random.default_rng(0).normal(size=(9, 39)), features, {})
    message = refusal(weights, "--codebook", other, "--out", out)
    assert "mfcc.safetensors: expected a codebook of the encoder" in message
    damaged = tmp_path / "damaged.safetensors"
    tensors, metadata = read_tensors(weights)
    tensors.popitem()
    write_tensors(damaged, tensors, metadata)
    assert "missing: feature_extractor." in refusal(damaged, "--out", out)
    assert not out.exists()
    out.mkdir()
    (out / "file").touch()
    assert "exists already" in refusal(weights, "--out", out)
