"""CPC against the published reader: written out here from its description, and fairseq's own."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from torch.nn import functional

from fairseq_readers import published_reader
from random_cpc import FULL, SMALL, random_weights
from speechprompt.audio.reading import read_audio
from speechprompt.encoders import load_encoder
from speechprompt.encoders.cpc import CPC
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.storage.tensors import read_tensors, write_tensors
from speechprompt.units.extraction import extract_features
from speechprompt.units.feature_files import FeatureMetadata, iter_features, read_feature_metadata

CHUNK = 64_000


class Published:
    """The published reader, literally."""

    def __init__(self, weights, layer):
        self.weights = weights
        hidden, n_inputs = weights["gAR.baseNet.weight_ih_l0"].shape
        self.lstm = torch.nn.LSTM(n_inputs, hidden // 4, layer, batch_first=True)
        state = self.lstm.state_dict()
        self.lstm.load_state_dict({name: weights[f"gAR.baseNet.{name}"] for name in state})

    @torch.inference_mode()
    def run(self, waveform):
        """One run of the model from zero: ``[F, D]``."""
        x = waveform[None, None]
        for number, (stride, padding) in enumerate(((5, 3), (4, 2), (2, 1), (2, 1), (2, 1))):
            conv, norm = f"gEncoder.conv{number}", f"gEncoder.batchNorm{number}"
            weight, bias = self.weights[f"{conv}.weight"], self.weights[f"{conv}.bias"]
            x = functional.conv1d(x, weight, bias, stride, padding)
            mean, variance = x.mean(dim=1, keepdim=True), x.var(dim=1, keepdim=True)
            x = (x - mean) * torch.rsqrt(variance + 1e-5)
            x = functional.relu(x * self.weights[f"{norm}.weight"] + self.weights[f"{norm}.bias"])
        return self.lstm(x.transpose(1, 2))[0][0]

    def get_feats(self, waveform):
        size, start, frames = len(waveform), 0, []
        while start + CHUNK <= size:
            frames.append(self.run(waveform[start : start + CHUNK]))
            start += CHUNK
        if start < size:
            whole = self.run(waveform)
            frames.append(whole[-((size - start) // (size // len(whole))) :])
        return torch.cat(frames)


def speech(n_samples, seed=0):
    """Noise with a slow envelope, so that frames differ over time."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(n_samples) / 16_000
    envelope = 0.05 + (torch.sin(2 * torch.pi * (2 + seed) * time) + 1) / 4
    tone = torch.sin(2 * torch.pi * (200 + 90 * seed) * time)
    return envelope * (tone + 0.3 * torch.randn(n_samples, generator=generator))


def n_frames(n_samples):
    return (max(n_samples, 159) + 1) // 160


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A model of the published size: the published reader, and the encoder from its file."""
    path = tmp_path_factory.mktemp("cpc") / "full.safetensors"
    weights = random_weights(FULL)
    CPC.write(path, weights, FULL)
    return Published(weights, layer=2), load_encoder("cpc", weights=path)


@pytest.fixture(scope="module")
def small_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("cpc") / "small.safetensors"
    CPC.write(path, random_weights(SMALL), SMALL)
    return path


@pytest.fixture(scope="module")
def small(small_path):
    return Published(random_weights(SMALL), layer=2), load_encoder("cpc", weights=small_path)


def check_parity(published, encoder, waveform):
    expected = published.get_feats(waveform)
    (frames,) = encoder.encode([waveform])
    torch.testing.assert_close(frames, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("n_samples", [159, 16_001, CHUNK - 1, CHUNK, CHUNK + 6_000, 150_000])
def test_equals_the_published_reader_in_full_size(full, n_samples):
    check_parity(*full, speech(n_samples))


@pytest.mark.parametrize(
    "n_samples",
    [
        *(160, 318, 319, 16_000, 16_159, 63_840, CHUNK + 159, CHUNK + 160, CHUNK + 319),
        *(2 * CHUNK, 2 * CHUNK + 159, 3 * CHUNK - 2, 3 * CHUNK + 7_777),
    ],
)
def test_equals_the_published_reader(small, n_samples):
    check_parity(*small, speech(n_samples, seed=n_samples % 5))


def test_equals_the_published_reader_on_real_speech(full, shared_data):
    paths = sorted((shared_data / "fsdd").glob("*_1.wav"))
    waveforms = [torch.from_numpy(read_audio(path)) for path in paths]
    for waveform in (waveforms[0], torch.cat(waveforms)[: CHUNK + 30_000]):
        check_parity(*full, waveform)


def test_the_reader_written_here_is_fairseqs(small, monkeypatch):
    module = published_reader("cpc_feature_reader")
    weights = random_weights(SMALL)
    model = module.CPCModel(module.CPCEncoder(24), module.CPCAR(24, 16, False, 2)).eval()
    assert model.load_state_dict(weights, strict=False).missing_keys == []
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    reader = object.__new__(module.CpcFeatureReader)
    reader.model, reader.max_chunk = model, CHUNK
    reader.use_encoder_layer = reader.norm_features = False
    monkeypatch.setattr(reader, "read_audio", lambda path, *_: path.numpy(), raising=False)
    for n_samples in (159, 16_000, CHUNK, CHUNK + 100, CHUNK + 25_599, 150_000):
        waveform = speech(n_samples)
        expected = reader.get_feats(waveform)
        torch.testing.assert_close(small[0].get_feats(waveform), expected, atol=1e-5, rtol=1e-5)


def test_a_remainder_is_read_with_all_before_it(small):
    """Neither by itself nor, as the reader means to, with the 64,000 samples before the end."""
    published, encoder = small
    waveform = speech(2 * CHUNK - 2_000)
    (frames,) = encoder.encode([waveform])
    for other in (waveform[CHUNK:], waveform[-CHUNK:]):
        assert (published.run(other)[-387:] - frames[-387:]).abs().max() > 1e-3


def test_chunks_start_from_zero(small):
    published, encoder = small
    waveform = speech(2 * CHUNK)
    (frames,) = encoder.encode([waveform])
    assert (published.run(waveform)[400:] - frames[400:]).abs().max() > 1e-3


@pytest.mark.parametrize("n_samples", [CHUNK + 1, CHUNK + 158, 2 * CHUNK + 100])
def test_no_frame_of_a_remainder_is_not_the_utterance_again(small, n_samples):
    published, encoder = small
    waveform = speech(n_samples)
    (frames,) = encoder.encode([waveform])
    expected = published.get_feats(waveform)
    assert len(frames) == n_frames(n_samples) == len(expected) // 2
    torch.testing.assert_close(frames, expected[: len(frames)], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("remainder", "repeated"), [(25_439, 0), (25_599, 1), (CHUNK - 1, 2)])
def test_no_frame_is_repeated_where_a_remainder_begins(small, remainder, repeated):
    published, encoder = small
    waveform = speech(CHUNK + remainder)
    (frames,) = encoder.encode([waveform])
    expected = published.get_feats(waveform)
    assert len(frames) == n_frames(len(waveform)) == len(expected) - repeated
    expected = torch.cat([expected[:400], expected[400 + repeated :]])
    torch.testing.assert_close(frames, expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def waveforms():
    """Few frames, whole chunks, remainders with and without frames of their own, in any order."""
    lengths = [16_000, 1, 2 * CHUNK, 100, 479, 2 * CHUNK - 1, 33_333, CHUNK + 100, CHUNK, 80_000]
    lengths += [16_000, 16_159, 2 * CHUNK + 40_000]
    return [speech(length, seed) for seed, length in enumerate(lengths)]


@pytest.mark.parametrize("size", ["small", "full"])
def test_alone_and_in_a_batch_are_the_same(request, size, waveforms):
    _, encoder = request.getfixturevalue(size)
    if size == "full":
        waveforms = waveforms[:6]
    for waveform, frames in zip(waveforms, encoder.encode(waveforms), strict=True):
        (alone,) = encoder.encode([waveform])
        assert frames.shape == (n_frames(len(waveform)), encoder.dimension)
        assert frames.dtype == torch.float32
        torch.testing.assert_close(frames, alone, atol=1e-5, rtol=1e-5)


def test_a_padded_batch_would_differ(small):
    """The zeros after a short utterance do not stay zeros: a check of these tests."""
    published, _ = small
    waveform = speech(16_000)
    padded = published.run(functional.pad(waveform, (0, 16_000)))[:100]
    assert (padded - published.run(waveform)).abs().max() > 1e-3


@pytest.mark.parametrize("n_samples", [1, 100, 158, 159])
def test_tiny_audio_is_filled_up(small, n_samples):
    published, encoder = small
    waveform = speech(n_samples, seed=1) + 0.1
    (frames,) = encoder.encode([waveform])
    expected = published.run(functional.pad(waveform, (0, 159 - n_samples)))
    torch.testing.assert_close(frames, expected, atol=1e-5, rtol=1e-5)


def test_digital_silence(small):
    check_parity(*small, torch.zeros(CHUNK + 1_600))


def test_an_empty_batch(small):
    assert small[1].encode([]) == []


def test_long_audio_is_read_piece_by_piece(small_path, monkeypatch):
    encoder = load_encoder("cpc", weights=small_path)
    convolve, lstm, pieces, steps = encoder._convolve, encoder.lstm.forward, [], []

    def spy_convolve(waveforms):
        pieces.append(sum(len(waveform) for waveform in waveforms))
        return convolve(waveforms)

    def spy_lstm(x, *state):
        steps.append(x.shape[:2].numel())
        return lstm(x, *state)

    monkeypatch.setattr(encoder, "_convolve", spy_convolve)
    monkeypatch.setattr(encoder.lstm, "forward", spy_lstm)
    check_parity(Published(random_weights(SMALL), layer=2), encoder, speech(20 * CHUNK + 999))
    assert max(pieces) <= 102 * 160
    assert len(steps) == 21
    assert max(steps) == 2 * 400


def test_description(full):
    _, encoder = full
    assert (encoder.dimension, encoder.layer, encoder.frame_rate) == (512, 2, 100.0)
    assert encoder.lstm.num_layers == 2


@pytest.mark.parametrize("layer", [1, 3])
def test_other_layers(small_path, layer):
    encoder = load_encoder("cpc", weights=small_path, layer=layer)
    assert encoder.lstm.num_layers == layer
    check_parity(Published(random_weights(SMALL), layer), encoder, speech(CHUNK + 9_999))


@pytest.mark.parametrize("layer", [0, 4])
def test_no_such_layer(small_path, layer):
    with pytest.raises(ConfigError, match=f"1 to 3.*found {layer}"):
        load_encoder("cpc", weights=small_path, layer=layer)


def test_identity_is_weights_and_layer(small_path, tmp_path):
    other = tmp_path / "other.safetensors"
    CPC.write(other, random_weights(SMALL, seed=1), SMALL)
    hashes = {
        load_encoder("cpc", weights=path, layer=layer).sha256
        for path, layer in ((small_path, 1), (small_path, 2), (other, 1))
    }
    assert len(hashes) == 3
    assert load_encoder("cpc", weights=small_path, layer=1).sha256 in hashes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # In a layer that is not even run: the file is not what it says it is.
        (
            lambda w: w.pop("gAR.baseNet.bias_hh_l2"),
            r"missing: gAR\.baseNet\.bias_hh_l2",
        ),
        (
            lambda w: w.update({"wPrediction.bias": torch.zeros(4)}),
            r"surplus: wPrediction\.bias",
        ),
        (
            lambda w: w.update({"gEncoder.batchNorm3.bias": torch.zeros(24)}),
            r"of another shape: gEncoder\.batchNorm3\.bias \(24,\) instead of \(1, 24, 1\)",
        ),
    ],
)
def test_loading_and_saving_are_strict(small_path, tmp_path, change, message):
    path = tmp_path / "changed.safetensors"
    weights, metadata = read_tensors(small_path)
    change(weights)
    with pytest.raises(ArtefactError, match=message):
        CPC.write(path, weights, SMALL)
    assert list(tmp_path.iterdir()) == []
    write_tensors(path, weights, metadata)
    with pytest.raises(ArtefactError, match=rf"changed\.safetensors.*{message}"):
        load_encoder("cpc", weights=path, layer=1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hiddenEncoder": 24, "hiddenGar": 16}, r"lacks \['nLevelsGRU'\]"),
        (SMALL | {"arMode": "LSTM"}, r"unknown \['arMode'\]"),
        (SMALL | {"nLevelsGRU": 0}, "nLevelsGRU: expected a whole number >= 1, found 0"),
        (SMALL | {"hiddenGar": "16"}, "hiddenGar: expected a whole number >= 1, found '16'"),
    ],
)
def test_impossible_configurations(tmp_path, config, message):
    with pytest.raises(ArtefactError, match=message):
        CPC.write(tmp_path / "model.safetensors", random_weights(SMALL), config)


def test_damaged_and_foreign_files(small_path, tmp_path):
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(small_path.read_bytes()[:-100])
    foreign = tmp_path / "foreign.safetensors"
    write_tensors(foreign, random_weights(SMALL), {"kind": "hubert", "config": SMALL})
    text = tmp_path / "text.safetensors"
    text.write_text("not a tensor file")
    for path in (truncated, foreign, text, tmp_path / "absent.safetensors"):
        with pytest.raises(ArtefactError, match=path.name):
            load_encoder("cpc", weights=path)


def test_features_of_a_shard(small, tmp_path):
    lengths = [8_000, 16_000, CHUNK + 5_000, 100]
    for index, length in enumerate(lengths):
        soundfile.write(tmp_path / f"{index}.wav", speech(length, index).numpy(), 16_000)
    table = pa.table({"utt_id": list("abcd"), "path": [f"{index}.wav" for index in range(4)]})
    pq.write_table(table.replace_schema_metadata({"root": "."}), tmp_path / "manifest.parquet")
    encoder, out = small[1], tmp_path / "features.parquet"
    extract_features(tmp_path / "manifest.parquet", encoder, out, shard=1, n_shards=2)
    rows = list(iter_features(out))
    assert [utt_id for utt_id, _ in rows] == ["c", "d"]
    for index, (_, frames) in enumerate(rows, start=2):
        (expected,) = encoder.encode([torch.from_numpy(read_audio(tmp_path / f"{index}.wav"))])
        np.testing.assert_array_equal(frames, expected.half().numpy())
    assert read_feature_metadata(out) == FeatureMetadata("cpc", encoder.sha256, 2, 100.0, 16)
