"""Phones of synthetic speech: where eSpeak NG says they are, and that the sound agrees."""

from __future__ import annotations

import numpy as np
import pytest

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.corpora.synthetic import espeak, keyword_spotting, transcription
from speechprompt.corpora.synthetic.espeak import Event, Speaker
from speechprompt.corpora.synthetic.phones import Alignment, align

HISSES = ("s", "S", "tS", "z")
VOWELS = ("a", "I", "E", "aI", "eI", "oU", "u:", "i:", "V", "O:", "0")
SHIFTS = (-30, -20, -10, 0, 10, 20, 30)  # ms
HOP = SAMPLE_RATE // 200


@pytest.fixture(scope="module")
def speaker():
    with Speaker() as speaker:
        yield speaker


@pytest.fixture(scope="module")
def rendered(speaker):
    """Recordings of two tasks as they are written, with their phones."""
    sizes = {"train": 0, "valid": 0}
    plans = [
        *transcription.plan(2, sizes | {"test": 16}),
        *keyword_spotting.plan(2, sizes | {"test": 24}),
    ]
    return [item.render(speaker) for item in plans]


def test_events_change_no_sample(speaker, monkeypatch):
    for variant in ("Michael", "klatt4", "f2"):
        heard, events = speaker.synthesise("stop, six sheep", "en-gb", variant)
        assert {event.kind for event in events} == {"word", "phoneme", "pause"}
        with monkeypatch.context() as patch:
            patch.setattr(espeak, "INITIALIZE_PHONEME_EVENTS", 0)
            without, events = speaker.synthesise("stop, six sheep", "en-gb", variant)
        assert {event.kind for event in events} == {"word"}
        np.testing.assert_array_equal(heard, without)


@pytest.mark.parametrize("accent", ["en-us", "en-gb"])
def test_a_stop_is_marked_at_its_burst(speaker, accent):
    """Silence until the event, sound from it on: a few ms of lag either way would show."""
    waveform, events = speaker.synthesise("a paper cup, a packet, a kettle", accent)
    stops = [e.sample for e in events if e.kind == "phoneme" and e.text in ("p", "k")]
    assert len(stops) >= 5
    window = espeak.SAMPLE_RATE // 100
    for stop in stops:
        before, after = waveform[stop - window : stop], waveform[stop : stop + window]
        assert np.abs(before).max() < 0.01 * np.abs(after).max()


def at_frames(phones: Alignment, n_frames: int, shift: float) -> np.ndarray:
    """The phone at the middle of every 5 ms, without stress, moved by so many seconds."""
    times = (np.arange(n_frames) + 0.5) * HOP / SAMPLE_RATE - shift
    index = np.searchsorted(phones.starts, times, side="right") - 1
    return np.array([phone.lstrip("',") for phone in phones.phones])[np.maximum(index, 0)]


def in_decibels(waveform: np.ndarray) -> np.ndarray:
    """Level of every 5 ms."""
    frames = waveform[: len(waveform) // HOP * HOP].reshape(-1, HOP)
    return 10 * np.log10((frames**2).mean(axis=1) + 1e-12)


def test_hisses_and_silences_are_where_the_phones_say(rendered):
    """The contrast is largest without any shift, and much less at 30 ms."""
    hissing = dict.fromkeys(SHIFTS, 0.0)
    quiet = dict.fromkeys(SHIFTS, 0.0)
    for waveform, phones in rendered:
        level = in_decibels(waveform)
        slope = in_decibels(np.diff(waveform, prepend=0)) - level
        for shift in SHIFTS:
            here = at_frames(phones, len(level), shift / 1000)
            hiss, vowel, silence = np.isin(here, HISSES), np.isin(here, VOWELS), here == "sil"
            if hiss.any() and vowel.any():
                hissing[shift] += slope[hiss].mean() - slope[vowel].mean()
            if not silence.all():
                quiet[shift] += level[~silence].mean() - level[silence].mean()
    for contrast in (hissing, quiet):
        assert max(contrast, key=contrast.__getitem__) == 0
    assert max(hissing[-30], hissing[30]) < 0.8 * hissing[0]


def test_phones_fill_the_recording(rendered):
    for waveform, phones in rendered:
        assert phones.starts[0] == 0
        assert phones.end == len(waveform) / SAMPLE_RATE
        assert all(np.diff([*phones.starts, phones.end]) > 0)
        assert phones.phones[0] == "sil" or len(waveform) == SAMPLE_RATE
    silent = [phones for _, phones in rendered if len(phones.phones) == 1]
    assert silent == [Alignment(("sil",), (0.0,), 1.0)] * 2


def test_the_gap_before_a_phone_is_part_of_it():
    rate = espeak.SAMPLE_RATE
    waveform = np.zeros(rate, np.float32)
    waveform[: rate // 5] = waveform[rate // 2 : rate * 7 // 10] = 0.5
    waveform[rate * 9 // 10 :] = 0.5
    events = [
        Event("word", 0, "up"),
        Event("phoneme", 0, "'V"),
        Event("phoneme", rate // 2, "p"),
        Event("pause", rate * 7 // 10, "_:"),
        Event("pause", rate * 8 // 10, "_"),
        Event("phoneme", rate * 9 // 10, "k"),
    ]
    phones = align(waveform, events)
    assert phones.phones == ("'V", "p", "sil", "k")
    np.testing.assert_allclose(phones.starts, [0, 0.2, 0.7, 0.8], atol=1e-4)
    assert phones.end == 1


def test_phones_move_with_their_recording():
    phones = Alignment(("a", "sil", "b"), (0.0, 0.5, 1.0), 1.5)
    later = phones.place(0.25, 2.0)
    assert later == Alignment(("sil", "a", "sil", "b", "sil"), (0.0, 0.25, 0.75, 1.25, 1.75), 2.0)
    assert phones.place(-0.75, 0.5) == Alignment(("sil", "b"), (0.0, 0.25), 0.5)
    assert Alignment(("sil", "a"), (0.0, 0.5), 1.0).place(0.5, 1.25).phones == ("sil", "a")
