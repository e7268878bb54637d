"""Renditions: a recording at other speeds."""

import numpy as np
import pytest

from speechprompt.audio.speed import SPEEDS, check_speeds, play_at


@pytest.mark.parametrize("speed", [0.5, 0.85, 1.18, 2.0])
def test_pitch_moves_with_the_speed(speed):
    tone = np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000).astype(np.float32)
    (played,) = play_at([speed], tone)
    assert played.dtype == np.float32
    assert len(played) == pytest.approx(16_000 / speed, abs=1)
    spectrum = np.abs(np.fft.rfft(played))
    assert np.argmax(spectrum) * 16_000 / len(played) == pytest.approx(500 * speed, abs=2)
    assert np.abs(played).max() == pytest.approx(1, abs=0.1)


def test_every_speed_has_a_rendition_however_short_the_recording():
    played = play_at(SPEEDS, np.ones(3, np.float32))
    assert [len(one) > 0 for one in played] == [True] * len(SPEEDS)
    assert play_at([], np.ones(3, np.float32)) == []


@pytest.mark.parametrize("speeds", [[1.0], [0.4], [2.5], [float("nan")], [0.9, 0.9], [0.0]])
def test_speeds_that_are_none_are_refused(speeds):
    with pytest.raises(ValueError, match="speeds"):
        check_speeds(speeds)


def test_speeds_are_at_most_sixteen():
    check_speeds([0.5 + i / 100 for i in range(16)])
    with pytest.raises(ValueError, match="up to 16 different speeds"):
        check_speeds([0.5 + i / 100 for i in range(17)])
