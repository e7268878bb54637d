"""The synthetic corpora beside keywords: what is said, by whom, and that it sounds."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from synthesised import contents, table

from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.corpora.manifest import SPLITS
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.registry import SYNTHETIC_TASKS
from speechprompt.corpora.synthetic import (
    english,
    intent_classification,
    keyword_spotting,
    plan,
    slot_filling,
    synthesis,
    synthesise_corpus,
    transcription,
    words,
)
from speechprompt.corpora.synthetic.grammar import split_of
from speechprompt.corpora.validate import validate_corpus
from speechprompt.errors import ConfigError

MODULES = {
    "keyword_spotting": keyword_spotting,
    "intent_classification": intent_classification,
    "transcription": transcription,
    "slot_filling": slot_filling,
    "english": english,
    "words": words,
}
COLUMNS = {
    "intent_classification": ["action", "object", "location", "text"],
    "transcription": ["text"],
    "slot_filling": ["text", "tags", "intent"],
    "english": ["text"],
}
SIZES = {"train": 2000, "valid": 200, "test": 400}
SMALL = {"n_train": 31, "n_valid": 6, "n_test": 14}


@pytest.fixture(scope="module")
def plans():
    """Task -> split -> recordings, without their sound."""
    result = {}
    for task, module in MODULES.items():
        recordings = [item.recording for item in module.plan(1, SIZES)]
        result[task] = {split: [r for r in recordings if r.split == split] for split in SPLITS}
    return result


@pytest.fixture(scope="module", params=COLUMNS)
def corpus(request, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    synthesise_corpus(SyntheticCorpus(task=request.param, **SMALL), folder, seed=3)
    return request.param, folder


def texts(recordings) -> list[str]:
    return [recording.labels["text"] for recording in recordings]


def test_every_task_has_its_module():
    assert set(SYNTHETIC_TASKS) == set(MODULES)
    with pytest.raises(ConfigError, match=r"expected a task of keyword_spotting, .* found 'x'"):
        plan(SyntheticCorpus.model_construct(task="x"), 0)


def test_no_voice_is_in_two_splits_of_any_tasks(plans):
    variants = {split: set() for split in SPLITS}
    for splits in plans.values():
        for split, recordings in splits.items():
            variants[split] |= {r.speaker.split("+")[1] for r in recordings if r.speaker}
    assert min(map(len, variants.values())) >= 8
    assert not variants["train"] & variants["valid"]
    assert not variants["train"] & variants["test"]
    assert not variants["valid"] & variants["test"]


@pytest.mark.parametrize("task", COLUMNS)
def test_labels_and_text(plans, task):
    for split, recordings in plans[task].items():
        assert len(recordings) == SIZES[split]
        for recording in recordings:
            assert list(recording.labels) == COLUMNS[task]
            assert re.fullmatch(r"[A-Z']+( [A-Z']+)*", recording.labels["text"])


def test_tasks_draw_apart(plans):
    """The same voice at the same place in two tasks is chance, not a shared seed."""
    speakers = [[r.speaker for r in plans[task]["train"]] for task in COLUMNS]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (
            np.mean([a == b for a, b in zip(speakers[first], speakers[second], strict=True)]) < 0.02
        )


@pytest.mark.parametrize("task", COLUMNS)
def test_a_larger_corpus_starts_with_the_smaller(plans, task):
    larger = {split: size + 7 for split, size in SIZES.items()}
    recordings = [item.recording for item in MODULES[task].plan(1, larger)]
    for split in SPLITS:
        mine = [recording for recording in recordings if recording.split == split]
        assert mine[: SIZES[split]] == plans[task][split]


def test_words_are_balanced_and_new_to_keyword_spotting(plans):
    said = Counter(recording.labels["label"] for recording in plans["words"]["train"])
    assert len(said) == len(words.vocabulary()) > 1000
    assert max(said.values()) - min(said.values()) <= 1
    unknown = {word for others in keyword_spotting.unknown_words().values() for word in others}
    assert not {*keyword_spotting.KEYWORDS, *unknown, "zero", "four", "nine"} & set(said)


def test_every_third_word_is_read_by_one_of_the_languages(tmp_path):
    block = {"task": "words", "languages": ["de", "tr"], "n_valid": 3, "n_test": 3}
    utterances = plan(SyntheticCorpus(**block, n_train=4 * len(words.vocabulary())), 1)
    read_by = {}
    for item in utterances:
        read_by.setdefault(item.word, set()).add(item.voice.accent)
    foreign = {word: accents for word, accents in read_by.items() if accents & {"de", "tr"}}
    assert len(foreign) == len(read_by) // 3
    assert {frozenset(accents) for accents in foreign.values()} == {
        frozenset({"de"}),
        frozenset({"tr"}),
    }
    synthesise_corpus(SyntheticCorpus(**block, n_train=3), tmp_path, seed=1)
    durations = {soundfile.info(path).duration for path in tmp_path.rglob("*.wav")}
    assert durations == {1.0}


def test_intents_are_those_of_fluent_speech_commands(plans):
    for recordings in plans["intent_classification"].values():
        seen = Counter(tuple(r.labels.values())[:3] for r in recordings)
        assert len(seen) == 31
        assert max(seen.values()) - min(seen.values()) <= 1
        actions, objects, locations = (set(column) for column in zip(*seen, strict=True))
        assert (len(actions), len(objects), len(locations)) == (6, 14, 4)
        # The number of (object, location) of each action, as in the published label files.
        assert Counter(action for action, _, _ in seen) == {
            "activate": 6,
            "deactivate": 6,
            "increase": 5,
            "decrease": 5,
            "bring": 4,
            "change language": 5,
        }
        assert {(o, p) for a, o, p in seen if a == "bring"} == {
            (thing, "none") for thing in ("newspaper", "juice", "socks", "shoes")
        }
        assert {o for _, o, place in seen if place != "none"} == {"lights", "heat"}


def test_commands_are_worded_in_many_ways_some_of_them_new():
    meant = {}
    commands = intent_classification.read_commands()
    assert len(commands.intents) == 31
    for intent in commands.intents:
        said = {split: commands.wordings(*intent, split) for split in SPLITS}
        common = set(said["train"])
        assert len(common) >= 6
        new = {split: set(said[split]) - common for split in ("valid", "test")}
        assert new["valid"]
        assert len(new["test"]) >= 2
        assert not new["valid"] & new["test"]
        assert common < set(said["valid"])
        for text in common.union(*new.values()):
            assert meant.setdefault(text, intent) == intent
            assert "{" not in text
            rooms = {
                room for room in ("KITCHEN", "BEDROOM", "WASHROOM", "BATHROOM") if room in text
            }
            assert bool(rooms) == (intent[2] != "none")


def test_test_hears_new_wordings_of_commands(plans):
    splits = plans["intent_classification"]
    known = set(texts(splits["train"]))
    assert 0.15 < np.mean([text not in known for text in texts(splits["test"])]) < 0.45


def test_sentences_are_distinct_and_of_known_words(plans):
    splits = {split: texts(recordings) for split, recordings in plans["transcription"].items()}
    everything = [text for split in splits.values() for text in split]
    assert len(set(everything)) == len(everything) == sum(SIZES.values())
    words = {
        split: {word for text in said for word in text.split()} for split, said in splits.items()
    }
    assert 200 < len(words["train"]) < 400
    assert words["test"] <= words["train"]
    lengths = [len(text.split()) for text in everything]
    assert (min(lengths), max(lengths)) == (2, 6)


def test_requests_of_test_and_some_values_are_new(plans):
    splits = {split: texts(recordings) for split, recordings in plans["slot_filling"].items()}
    assert not set(splits["train"]) & set(splits["valid"])
    assert not set(splits["train"]) & set(splits["test"])
    assert not set(splits["valid"]) & set(splits["test"])
    assert len(set(splits["train"])) > 0.8 * SIZES["train"]
    values = {split: set(slot_values(plans["slot_filling"][split])) for split in SPLITS}
    new = values["test"] - values["train"]
    assert len({slot for slot, _ in new}) >= 6
    assert not new & values["valid"]


def slot_values(recordings):
    """The (slot, value) of requests, read from their tags; fails where these are not IOB."""
    for recording in recordings:
        words, tags = recording.labels["text"].split(), recording.labels["tags"].split()
        slot, value = None, []
        for word, tag in zip([*words, ""], [*tags, "O"], strict=True):
            if tag.startswith("I-"):
                assert tag.removeprefix("I-") == slot, recording.labels
                value.append(word)
                continue
            if slot:
                yield slot, " ".join(value)
            assert tag == "O" or tag.startswith("B-")
            slot, value = (None, []) if tag == "O" else (tag.removeprefix("B-"), [word])


def test_tags_mark_values_of_their_slots(plans):
    for split, recordings in plans["slot_filling"].items():
        found = Counter(slot for slot, _ in slot_values(recordings))
        values = slot_filling.requests().values[split]
        assert set(found) == set(values)
        for slot, value in slot_values(recordings):
            assert value.lower() in values[slot]
        intents = Counter(r.labels["intent"] for r in recordings)
        assert set(intents) == set(slot_filling.requests().patterns)
        assert max(intents.values()) - min(intents.values()) <= 1


def test_every_text_has_one_split_of_the_expected_size():
    shares = Counter(split_of(1, f"TEXT {number}") for number in range(5000))
    assert shares["train"] / 5000 == pytest.approx(0.8, abs=0.03)
    assert shares["valid"] / 5000 == pytest.approx(0.1, abs=0.02)
    moved = [split_of(1, f"TEXT {n}") != split_of(2, f"TEXT {n}") for n in range(1000)]
    assert 0.2 < np.mean(moved) < 0.5


def test_recordings_are_as_long_as_what_is_said(corpus):
    """Longer for more letters, though some voices speak twice as fast as others."""
    _, folder = corpus
    lengths, sizes = [], []
    for row in table(folder):
        info = soundfile.info(folder / row["path"])
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        waveform, _ = soundfile.read(folder / row["path"], dtype="float32")
        assert 0 < np.abs(waveform).max() < 1
        lengths.append(info.duration)
        sizes.append(len(row["text"]))
    assert 0.5 < min(lengths) < max(lengths) < 7
    assert np.corrcoef(lengths, sizes)[0, 1] > 0.3


def test_there_is_a_little_silence_around(corpus):
    """The first and last 50 ms are noise: far quieter than the loudest 50 ms."""
    _, folder = corpus
    contrasts = []
    for row in table(folder):
        waveform, _ = soundfile.read(folder / row["path"])
        power = [(part**2).mean() for part in np.split(waveform, range(800, len(waveform), 800))]
        contrasts.append(10 * np.log10(max(power) / max(power[0], (waveform[-800:] ** 2).mean())))
    assert min(contrasts) > 5
    assert np.median(contrasts) > 15


def test_manifests(corpus, tmp_path, configured_labels):
    task, folder = corpus
    expected = {split: SMALL[f"n_{split}"] for split in SPLITS}
    assert prepare_corpus(SyntheticCorpus(), folder, tmp_path, seed=3) == expected
    assert validate_corpus(tmp_path, label_columns=COLUMNS[task]) == expected
    assert list(table(folder)[0]) == ["path", "split", "speaker", *COLUMNS[task]]
    assert configured_labels(SyntheticCorpus(task=task), tmp_path)


def test_several_processes_and_a_stop_change_no_byte(tmp_path, monkeypatch):
    once, stopped = tmp_path / "once", tmp_path / "stopped"
    synthesise_corpus(SyntheticCorpus(task="slot_filling", **SMALL), once, seed=3)
    written = []

    def stop_after_ten(path, waveform, *, write=synthesis._write_wav):
        if len(written) == 10:
            path.with_name(f".{path.name}.1.part").write_bytes(b"half a recording")
            raise KeyboardInterrupt
        written.append(path)
        write(path, waveform)

    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "_write_wav", stop_after_ten)
        with pytest.raises(KeyboardInterrupt):
            synthesise_corpus(SyntheticCorpus(task="slot_filling", **SMALL), stopped, seed=3)
    monkeypatch.setattr(synthesis, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(synthesis, "BATCH", 4)
    synthesise_corpus(SyntheticCorpus(task="slot_filling", **SMALL), stopped, seed=3, processes=2)
    assert contents(stopped) == contents(once)


def test_other_seed_other_bytes(corpus, tmp_path):
    task, folder = corpus
    synthesise_corpus(SyntheticCorpus(task=task, **SMALL), tmp_path, seed=4)
    assert not set(contents(tmp_path).values()) & set(contents(folder).values())
