import numpy as np
import pytest

from speechprompt.pretraining import augmentation
from speechprompt.pretraining.augmentation import augment

HARD = ("TRACT", "CLIPPING", "CODEC")
NAMES = ("REVERBERATION", "TALKER", "NOISE", "NARROW", *HARD)


def recordings(n=4, n_samples=24_000, seed=0):
    """Noise with a slow envelope: recordings whose position in time can be told."""
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.uniform(0, 1, (n, n_samples // 400)), 400, axis=1)
    return (0.1 * envelope * rng.standard_normal((n, n_samples))).astype(np.float32)


def test_the_same_seed_gives_the_same_surroundings():
    batch = recordings()
    (first, speed), (second, _) = (augment(batch, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert augment(batch, np.random.default_rng(4))[1] != speed
    assert first.shape == (len(batch), int(batch.shape[1] / speed))
    assert first.dtype == np.float32
    assert np.isfinite(first).all()


@pytest.mark.parametrize("hard", [False, True])
def test_recordings_do_not_move_in_time(hard):
    batch = recordings()
    for seed in range(20):
        disturbed, _ = augment(batch, np.random.default_rng(seed), speed=(1, 1), hard=hard)
        for before, after in zip(batch, disturbed, strict=True):
            spectrum = np.fft.rfft(after, 65_536) * np.conj(np.fft.rfft(before, 65_536))
            lag = int(np.argmax(np.abs(np.fft.irfft(spectrum))))
            assert min(lag, 65_536 - lag) <= 16  # a millisecond


def test_each_disturbance_does_something(monkeypatch):
    batch = recordings()
    monkeypatch.setattr(augmentation, "TILT_DB", (0.0, 0.0))
    for name in NAMES:
        for other in NAMES:
            monkeypatch.setattr(augmentation, other, float(other == name))
        disturbed, _ = augment(batch, np.random.default_rng(1), speed=(1, 1), hard=name in HARD)
        assert not np.allclose(disturbed, batch, atol=1e-4), name
    monkeypatch.setattr(augmentation, name, 0.0)
    disturbed, _ = augment(batch, np.random.default_rng(1), speed=(1, 1), hard=True)
    assert np.allclose(disturbed, batch, atol=1e-5)


def test_speed_moves_pitch_and_time(monkeypatch):
    for name in NAMES[:4]:
        monkeypatch.setattr(augmentation, name, 0.0)
    time = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * 500 * time)[None].astype(np.float32)
    tone[:, 8000:] = 0  # silence from 0.5 s on
    played, speed = augment(tone, np.random.default_rng(0), speed=(1.15, 1.16))
    assert 1.1 < speed < 1.2
    end = int(8000 / speed)
    pitch = np.argmax(np.abs(np.fft.rfft(played[0, : end - 200], 160_000))) / 10
    assert abs(pitch - 500 * speed) < 2
    assert np.abs(played[0, end + 200 :]).max() < 0.05 < np.abs(played[0, : end - 200]).max()


def test_a_telephone_has_a_narrow_band(monkeypatch):
    for name in NAMES:
        monkeypatch.setattr(augmentation, name, 0.0)
    monkeypatch.setattr(augmentation, "NARROW", 1.0)
    power = np.abs(np.fft.rfft(augment(recordings(), np.random.default_rng(1), (1, 1))[0])) ** 2
    bins = np.fft.rfftfreq(24_000, 1 / 16_000)
    assert power[:, bins > 5000].mean() < 1e-3 * power[:, (bins > 1000) & (bins < 2500)].mean()


@pytest.mark.parametrize("codec", augmentation.CODECS.values(), ids=augmentation.CODECS)
def test_codecs_neither_move_nor_lose_speech(codec, monkeypatch):
    for name in NAMES:
        monkeypatch.setattr(augmentation, name, float(name == "CODEC"))
    monkeypatch.setattr(augmentation, "CODECS", {"the only one": codec})
    monkeypatch.setattr(augmentation, "TILT_DB", (0.0, 0.0))
    time = np.arange(24_001) / 16_000
    tones = sum(np.sin(2 * np.pi * hz * time) * (1 + np.sin(hz * time)) for hz in (300, 700, 1500))
    batch = (0.1 * tones[None]).astype(np.float32)
    decoded, _ = augment(batch, np.random.default_rng(1), speed=(1, 1), hard=True)
    assert decoded.shape == batch.shape
    assert np.isfinite(decoded).all()
    assert np.corrcoef(decoded[0], batch[0])[0, 1] > 0.6


def test_a_recording_of_silence_stays_finite():
    for seed in range(10):
        generator = np.random.default_rng(seed)
        heard, _ = augment(np.zeros((2, 8000), np.float32), generator, hard=True)
        assert np.isfinite(heard).all()
