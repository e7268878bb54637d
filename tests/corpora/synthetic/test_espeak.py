from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

from speechprompt.config.corpora import Language, SyntheticCorpus
from speechprompt.corpora.synthetic import plan
from speechprompt.corpora.synthetic.espeak import (
    SAMPLE_RATE,
    Speaker,
    SpeechError,
    accents,
    variants,
)
from speechprompt.corpora.synthetic.voices import (
    ACCENTS,
    HIGH_VARIANTS,
    LOW_VARIANTS,
    assign_voices,
)


@pytest.fixture(scope="module")
def speaker():
    with Speaker() as speaker:
        yield speaker


def median_pitch(waveform: np.ndarray) -> float:
    """Median fundamental frequency of the voiced frames, in Hz, by autocorrelation."""
    found = []
    for start in range(0, len(waveform) - 1024, 512):
        frame = waveform[start : start + 1024] * np.hanning(1024)
        power = np.abs(np.fft.rfft(frame, 4096)) ** 2
        correlation = np.fft.irfft(power)
        lags = np.arange(SAMPLE_RATE // 400, SAMPLE_RATE // 60)
        best = lags[correlation[lags].argmax()]
        if correlation[0] > 1e-1 and correlation[best] > 0.4 * correlation[0]:
            found.append(SAMPLE_RATE / best)
    return float(np.median(found)) if found else 0.0


def test_accents_and_variants_are_all_at_hand():
    assert set(ACCENTS) <= set(accents())
    assert set(LOW_VARIANTS) | set(HIGH_VARIANTS) <= set(variants())
    assert not set(LOW_VARIANTS) & set(HIGH_VARIANTS)


def test_rate_and_pitch_do_what_they_say(speaker):
    slow, fast = (speaker.synthesise("marvin", rate=rate)[0] for rate in (120, 220))
    assert slow.dtype == np.float32
    assert 0.4 < len(fast) / SAMPLE_RATE < len(slow) / SAMPLE_RATE < 1.5
    assert 0.05 < np.abs(slow).max() <= 1
    low, high = (speaker.synthesise("marvin", pitch=pitch)[0] for pitch in (20, 80))
    assert median_pitch(high) > 1.3 * median_pitch(low) > 60


def test_accents_pronounce_differently(speaker):
    spoken = {
        accent: [
            event.text
            for event in speaker.synthesise("go up the water park", accent)[1]
            if event.kind == "phoneme"
        ]
        for accent in ACCENTS
    }
    assert len({tuple(phonemes) for phonemes in spoken.values()}) >= 5


@pytest.mark.parametrize("variant", [*LOW_VARIANTS, *HIGH_VARIANTS])
def test_voices_are_voiced_audible_and_not_clipped(speaker, variant):
    for accent in ("en-gb", "en-us"):
        waveform, _ = speaker.synthesise("seven houses on the river", accent, variant)
        assert 1.0 < len(waveform) / SAMPLE_RATE < 3.5
        assert np.sqrt(np.mean(waveform**2)) > 0.01
        assert np.mean(np.abs(waveform) > 0.999) < 0.01
        pitch = median_pitch(waveform)
        if variant in HIGH_VARIANTS:
            assert 120 < pitch < 340
        else:
            assert 60 < pitch < 145


def test_an_utterance_depends_on_its_arguments_alone(speaker):
    voices = (*LOW_VARIANTS[::6], *HIGH_VARIANTS[::4], "klatt4", "whisper")
    first = [speaker.synthesise("left", "en-us", variant)[0] for variant in voices]
    speaker.synthesise("a long sentence in between", "en-029", "f3", rate=90, pitch=90)
    again = [speaker.synthesise("left", "en-us", variant)[0] for variant in reversed(voices)]
    for before, after in zip(first, reversed(again), strict=True):
        np.testing.assert_array_equal(before, after)


def test_another_process_says_the_same(speaker):
    code = (
        "import hashlib; from speechprompt.corpora.synthetic.espeak import Speaker\n"
        "with Speaker() as speaker: waveform, _ = speaker.synthesise('stop', 'en-gb', 'f2')\n"
        "print(hashlib.sha256(waveform).hexdigest())"
    )
    prints = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
        for _ in range(2)
    }
    here = hashlib.sha256(speaker.synthesise("stop", "en-gb", "f2")[0]).hexdigest()
    assert prints == {f"{here}\n".encode()}


def test_events_follow_the_words(speaker):
    waveform, events = speaker.synthesise("turn left, please", "en-us")
    assert [event.text for event in events if event.kind == "word"] == ["turn", "left", "please"]
    phonemes = [event for event in events if event.kind == "phoneme"]
    assert len(phonemes) == 12 - 1
    starts = [event.sample for event in phonemes]
    assert starts == sorted(starts)
    assert starts[-1] < len(waveform)


def test_unknown_voices_are_refused(speaker):
    with pytest.raises(SpeechError, match=r"expected an accent or language .* found 'en-mars'"):
        speaker.synthesise("yes", "en-mars")
    with pytest.raises(SpeechError, match="found 'nobody'"):
        speaker.synthesise("yes", "en-gb", "nobody")
    with pytest.raises(SpeechError, match="silent"):
        speaker.synthesise("")


def test_no_variant_is_heard_in_two_splits():
    voices = assign_voices(0)
    split_variants = {split: {voice.variant for voice in group} for split, group in voices.items()}
    assert sum(map(len, split_variants.values())) == len(LOW_VARIANTS) + len(HIGH_VARIANTS)
    assert set.union(*split_variants.values()) == set(LOW_VARIANTS) | set(HIGH_VARIANTS)
    for split, group in split_variants.items():
        assert group & set(LOW_VARIANTS), split
        assert group & set(HIGH_VARIANTS), split
    assert len({voice.name for group in voices.values() for voice in group}) == sum(
        map(len, voices.values())
    )
    other = assign_voices(1)
    assert {voice.variant for voice in other["test"]} != split_variants["test"]


def test_other_languages_read_english_with_their_own_sounds(speaker):
    text = "seven people would like the yellow kitchen lights"
    english = set(speaker.transcribe(text).replace(" ", ""))
    read = {language: speaker.transcribe(text, language) for language in get_args(Language)}
    assert len(set(read.values())) > 0.9 * len(read) > 20
    assert all(set(ipa.replace(" ", "")) - english for ipa in read.values())
    assert len(speaker.synthesise("yes", "lt", "f2")[0])


def test_a_corpus_of_other_languages_has_their_voices():
    sizes = {"n_train": 30, "n_valid": 5, "n_test": 5}
    corpus = SyntheticCorpus(task="english", languages=["lt", "sw"], **sizes)
    utterances = plan(corpus, 1)
    english = plan(SyntheticCorpus(task="english", **sizes), 1)
    assert {item.voice.accent for item in utterances} == {"lt", "sw"}
    for item, other in zip(utterances, english, strict=True):
        assert item.recording.labels == other.recording.labels
        assert item.voice in assign_voices(1, ["lt", "sw"])[item.recording.split]
    (plain,) = plan(corpus.model_copy(update={"plain": True, "n_train": 1}), 1)[:1]
    assert plain.plain
    assert plain.recording == utterances[0].recording
    with pytest.raises(ValueError, match="give one of the two"):
        SyntheticCorpus(task="english", languages=["lt"], engines=["flite"])
