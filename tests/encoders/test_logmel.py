import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from torchaudio.compliance import kaldi

from fairseq_readers import published_reader
from speechprompt.audio.reading import read_audio
from speechprompt.encoders import load_encoder, logmel
from speechprompt.units.extraction import extract_features
from speechprompt.units.feature_files import FeatureMetadata, iter_features, read_feature_metadata


def noise(n_samples, seed=0):
    return 0.1 * torch.randn(n_samples, generator=torch.Generator().manual_seed(seed))


def published(waveform):
    """The published call, all else at torchaudio's defaults."""
    return kaldi.fbank(waveform[None], num_mel_bins=80, frame_length=25.0, sample_frequency=16_000)


@pytest.mark.parametrize("n_samples", [1, 100, 399, 400, 559, 560, 16_000, 16_001])
def test_number_of_frames(n_samples):
    (frames,) = load_encoder("logmel").encode([noise(n_samples)])
    assert frames.shape == (1 + (max(n_samples, 400) - 400) // 160, 80)
    assert frames.dtype == torch.float32
    assert frames.isfinite().all()


def test_equals_the_published_call():
    waveforms = [noise(n_samples, n_samples) for n_samples in (400, 16_000, 40_001)]
    for waveform, frames in zip(waveforms, load_encoder("logmel").encode(waveforms), strict=True):
        torch.testing.assert_close(frames, published(waveform), atol=0, rtol=0)


def check_against_fairseq(path):
    reader = published_reader("logmel_feature_reader").LogMelFeatureReader()
    (frames,) = load_encoder("logmel").encode([torch.from_numpy(read_audio(path))])
    torch.testing.assert_close(frames, reader.get_feats(path), atol=0, rtol=0)


def test_equals_fairseqs_reader(tmp_path):
    soundfile.write(tmp_path / "noise.wav", noise(20_000).numpy(), 16_000, subtype="PCM_16")
    check_against_fairseq(tmp_path / "noise.wav")


def test_equals_fairseqs_reader_on_real_speech(shared_data, tmp_path):
    for path in sorted((shared_data / "fsdd").glob("*_1.wav"))[:5]:
        # The reader takes a file's own rate, which is 8 kHz here.
        soundfile.write(tmp_path / path.name, read_audio(path), 16_000, subtype="FLOAT")
        check_against_fairseq(tmp_path / path.name)


def test_long_audio_is_computed_in_blocks(monkeypatch):
    waveform = noise(50_000)
    monkeypatch.setattr(logmel, "BLOCK_FRAMES", 100)
    seen = []
    fbank = kaldi.fbank
    monkeypatch.setattr(kaldi, "fbank", lambda x, **s: (seen.append(x.shape[1]), fbank(x, **s))[1])
    (frames,) = load_encoder("logmel").encode([waveform])
    assert len(seen) == 4
    assert max(seen) == 99 * 160 + 400
    torch.testing.assert_close(frames, published(waveform), atol=1e-5, rtol=1e-5)


def test_digital_silence_is_the_floor():
    (frames,) = load_encoder("logmel").encode([torch.zeros(16_000)])
    torch.testing.assert_close(frames, torch.full((98, 80), torch.finfo(torch.float32).eps).log())


def test_description():
    encoder = load_encoder("logmel")
    assert (encoder.dimension, encoder.layer, encoder.frame_rate) == (80, None, 100.0)
    assert encoder.sha256 == load_encoder("logmel").sha256 != load_encoder("mfcc").sha256


def test_features_of_a_shard(tmp_path):
    for index in range(4):
        soundfile.write(tmp_path / f"{index}.wav", noise(8_000 + 999 * index, index), 16_000)
    table = pa.table({"utt_id": list("abcd"), "path": [f"{index}.wav" for index in range(4)]})
    pq.write_table(table.replace_schema_metadata({"root": "."}), tmp_path / "manifest.parquet")
    encoder, out = load_encoder("logmel"), tmp_path / "features.parquet"
    assert extract_features(tmp_path / "manifest.parquet", encoder, out, shard=1, n_shards=2) == 2
    rows = list(iter_features(out))
    assert [utt_id for utt_id, _ in rows] == ["c", "d"]
    for index, (_, frames) in enumerate(rows, start=2):
        expected = published(torch.from_numpy(read_audio(tmp_path / f"{index}.wav")))
        np.testing.assert_array_equal(frames, expected.half().numpy())
    assert read_feature_metadata(out) == FeatureMetadata("logmel", encoder.sha256, None, 100.0, 80)
