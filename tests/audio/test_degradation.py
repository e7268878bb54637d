"""Recordings made worse: by as much as the step says, and not otherwise."""

import numpy as np
import pytest

from speechprompt.audio.degradation import CONDITIONS

RATE = 16_000
KINDS = {kind: [c for c in CONDITIONS if c.kind == kind] for kind in {c.kind for c in CONDITIONS}}


@pytest.fixture
def tones():
    """A second of some tones up to 7 kHz."""
    time = np.arange(RATE) / RATE
    return sum(np.sin(2 * np.pi * hz * time) for hz in (200, 900, 2500, 7000)).astype("f") / 10


def worse(condition, waveform, seed=0):
    return condition.apply(waveform, np.random.default_rng(seed))


def step(kind, name):
    (condition,) = (one for one in CONDITIONS if (one.kind, one.step) == (kind, name))
    return condition


def power_above(waveform, hz):
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return power[np.fft.rfftfreq(len(waveform), 1 / RATE) > hz].sum() / power.sum()


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: f"{c.kind} {c.step}")
def test_every_step_gives_samples(condition, tones):
    for waveform in (tones, np.zeros(401, np.float32)):
        heard = worse(condition, waveform)
        assert heard.dtype == np.float32
        assert np.isfinite(heard).all()
        factor = float(condition.step) if condition.kind.startswith("speed") else 1.0
        assert len(heard) == round(len(waveform) / factor)


def test_steps_are_different(tones):
    heard = [worse(condition, tones).tobytes() for condition in CONDITIONS]
    assert len(set(heard)) == len(CONDITIONS)
    assert heard[0] == tones.tobytes()


def test_noise_has_the_ratio_that_is_said(tones):
    for condition in KINDS["pink noise (dB SNR)"]:
        noise = worse(condition, tones) - tones
        ratio = 10 * np.log10(np.mean(tones**2) / np.mean(noise**2))
        assert ratio == pytest.approx(float(condition.step), abs=0.01)


def test_noise_is_the_same_at_every_step(tones):
    shapes = [worse(c, tones) - tones for c in KINDS["pink noise (dB SNR)"]]
    assert np.corrcoef(shapes[1], shapes[-1])[0, 1] > 0.999


def test_a_room_dies_away_by_60_db_in_its_time():
    click = np.zeros(2 * RATE, np.float32)
    click[0] = 1.0
    for name in ("0.2", "0.4", "0.8"):
        heard = worse(step("room (T60 in s)", name), click)
        energy = np.cumsum(heard[::-1] ** 2)[::-1]  # Schroeder's integral
        at = [np.flatnonzero(10 * np.log10(energy[32:] / energy[32]) < db)[0] for db in (-5, -25)]
        assert 3 * (at[1] - at[0]) / RATE == pytest.approx(float(name), rel=0.15)


def test_a_lower_rate_has_nothing_above_half_of_it(tones):
    for condition in KINDS["sample rate (Hz)"]:
        assert power_above(tones, float(condition.step) / 2) > 0.2
        assert power_above(worse(condition, tones), float(condition.step) / 2) < 1e-3


def test_levels_and_clipping(tones):
    heard = worse(step("level (dB)", "-20"), tones)
    np.testing.assert_allclose(heard, tones / 10, atol=1 / 65536)
    heard = worse(step("clipping (share of the peak)", "0.2"), tones)
    assert np.abs(heard).max() == pytest.approx(0.2 * np.abs(tones).max())


def test_codecs_neither_move_nor_scale(tones):
    low = tones - worse(step("sample rate (Hz)", "6000"), tones)
    low = 4 * (tones - low)  # below 3 kHz, louder than full scale
    for condition in KINDS["codec"]:
        heard = worse(condition, low)
        assert np.corrcoef(heard, low)[0, 1] > 0.6
        assert np.linalg.norm(heard) == pytest.approx(np.linalg.norm(low), rel=0.35)


def test_speed_moves_pitch():
    tone = np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE).astype("f")
    heard = worse(step("speed (with pitch)", "1.25"), tone)
    assert np.abs(np.fft.rfft(heard)).argmax() * RATE / len(heard) == pytest.approx(625, abs=2)
    assert np.std(heard) == pytest.approx(np.std(tone), rel=0.02)
