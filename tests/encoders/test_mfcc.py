import pytest
import torch
import torchaudio
from torchaudio.compliance import kaldi

from speechprompt.encoders import load_encoder


def noise(n_samples, seed=0):
    return 0.1 * torch.randn(n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n_samples", [1, 399, 400, 719, 720, 16_000, 16_001])
def test_number_of_frames(n_samples):
    (frames,) = load_encoder("mfcc").encode([noise(n_samples)])
    assert frames.shape == (1 + (max(n_samples, 400) - 400) // 320, 39)
    assert frames.dtype == torch.float32
    assert frames.isfinite().all()


def test_without_normalisation_it_is_kaldis_mfcc_with_derivatives():
    waveform = noise(16_000)
    (frames,) = load_encoder("mfcc", cmvn=False).encode([waveform])
    static = kaldi.mfcc(waveform[None], sample_frequency=16_000, frame_shift=20.0)
    delta = torchaudio.functional.compute_deltas(static.T).T
    torch.testing.assert_close(frames[:, :13], static)
    torch.testing.assert_close(frames[:, 13:26], delta)
    torch.testing.assert_close(frames[:, 26:], torchaudio.functional.compute_deltas(delta.T).T)


def test_normalisation_is_over_the_utterance():
    (frames,) = load_encoder("mfcc").encode([noise(16_000)])
    torch.testing.assert_close(frames.mean(dim=0), torch.zeros(39), atol=1e-5, rtol=0)
    torch.testing.assert_close(frames.std(dim=0, correction=0), torch.ones(39))


def test_normalisation_takes_out_the_level():
    quiet, loud = load_encoder("mfcc").encode([noise(16_000), 5 * noise(16_000)])
    torch.testing.assert_close(quiet, loud, atol=1e-3, rtol=0)


def test_digital_silence_is_not_blown_up():
    (frames,) = load_encoder("mfcc").encode([torch.zeros(16_000)])
    assert frames.abs().max() < 0.01


def test_identity_depends_on_the_settings():
    assert load_encoder("mfcc").sha256 == load_encoder("mfcc", cmvn=True).sha256
    assert load_encoder("mfcc").sha256 != load_encoder("mfcc", cmvn=False).sha256
