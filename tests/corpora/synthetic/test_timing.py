"""Dynamic time warping between renditions, and playing at a pace that changes."""

import numpy as np
import pytest

from speechprompt.corpora.synthetic.espeak import SAMPLE_RATE, Speaker
from speechprompt.corpora.synthetic.phones import Alignment
from speechprompt.corpora.synthetic.timing import HOP, follow, match


@pytest.fixture(scope="module")
def speech():
    """Two seconds or so of speech, float32 at 16 kHz."""
    from speechprompt.audio.reading import resample

    with Speaker() as speaker:
        spoken, _ = speaker.synthesise("please put the small table by the window", "en-us", "f2")
    return resample(spoken, SAMPLE_RATE, 16_000)


def moments(waveform, n_samples):
    """Times that run fast at first and slow in the end."""
    share = np.arange(0, n_samples + HOP, HOP) / n_samples
    return np.minimum(share**0.8, 1) * len(waveform) / 16_000


def test_a_warp_is_found_again(speech):
    n_samples = round(1.2 * len(speech))
    times = moments(speech, n_samples)
    warped = follow(speech, times, n_samples)
    assert warped.shape == (n_samples,)
    assert warped.dtype == np.float32
    here, there = match(warped, speech)
    assert (np.diff(here) > 0).all()
    assert (np.diff(there) >= 0).all()
    found = np.interp(np.arange(len(times)) * HOP / 16_000, here, there)
    assert np.abs(found - times)[5:-5].mean() < 0.02


def test_speech_at_its_own_pace_stays_as_it_is(speech):
    times = np.arange(0, len(speech) + HOP, HOP) / 16_000
    same = follow(speech, times, len(speech))
    assert np.corrcoef(same[2000:-2000], speech[2000:-2000])[0, 1] > 0.99
    here, there = match(speech, speech)
    assert np.allclose(here, there, atol=0.02)


def test_renditions_of_very_different_lengths(speech):
    here, there = match(speech[:800], speech)
    assert here[-1] == 0.05
    assert there[-1] == len(speech) / 16_000


def test_phones_move_with_time():
    phones = Alignment(("a", "b", "c"), (0.0, 1.0, 2.0), 3.0)
    moved = phones.warp(np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 3.0]))
    assert moved == Alignment(("a", "b", "c"), (0.0, 2.0, 2.5), 3.0)
