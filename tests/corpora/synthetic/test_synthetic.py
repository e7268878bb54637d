from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError
from synthesised import contents, table

from speechprompt.audio.acoustics import (
    NOISE_COLOURS,
    add_noise,
    colour_spectrum,
    make_noise,
    scale_to,
)
from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.synthetic import plan, synthesis, synthesise_corpus
from speechprompt.corpora.synthetic.keyword_spotting import CLASSES, KEYWORDS, unknown_words
from speechprompt.corpora.validate import validate_corpus
from speechprompt.errors import ConfigError, CorpusError

TASK = "keyword_spotting"
SIZES = {"n_train": 48, "n_valid": 12, "n_test": 24}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    synthesise_corpus(SyntheticCorpus(task=TASK, **SIZES), folder, seed=3)
    return folder


def test_classes_are_even_and_voices_apart(corpus):
    rows = table(corpus)
    assert Counter(row["split"] for row in rows) == {"train": 48, "valid": 12, "test": 24}
    assert Counter(row["label"] for row in rows if row["split"] == "train") == dict.fromkeys(
        CLASSES, 4
    )
    variants = {
        split: {
            row["speaker"].split("+")[1]
            for row in rows
            if row["split"] == split and row["label"] != "_silence_"
        }
        for split in ("train", "valid", "test")
    }
    assert not variants["train"] & variants["valid"]
    assert not variants["train"] & variants["test"]
    assert not variants["valid"] & variants["test"]
    assert all(not row["speaker"] for row in rows if row["label"] == "_silence_")


def test_recordings_are_one_second_of_16_bit_wav_at_many_levels(corpus):
    levels = []
    for row in table(corpus):
        info = soundfile.info(corpus / row["path"])
        assert (info.samplerate, info.frames, info.channels) == (16_000, 16_000, 1)
        assert info.subtype == "PCM_16"
        waveform, _ = soundfile.read(corpus / row["path"], dtype="float32")
        assert 0 < np.abs(waveform).max() < 1
        if row["label"] in KEYWORDS:
            levels.append(20 * np.log10(np.sqrt(np.mean(waveform**2))))
    assert max(levels) - min(levels) > 10


def test_words_stand_out_of_the_noise(corpus):
    """Loudest 100 ms over the median one: several dB for words, hardly any for silence."""
    contrast = {"words": [], "silence": []}
    for row in table(corpus):
        waveform, _ = soundfile.read(corpus / row["path"])
        power = (waveform.reshape(10, 1600) ** 2).mean(axis=1)
        kind = "silence" if row["label"] == "_silence_" else "words"
        contrast[kind].append(10 * np.log10(power.max() / np.sort(power)[2]))
    assert np.median(contrast["words"]) > 10
    assert np.median(contrast["silence"]) < 6


def test_word_lists():
    words = unknown_words()
    common = set(words["train"])
    assert len(set().union(*words.values())) >= 60
    assert set(KEYWORDS).isdisjoint(set().union(*words.values()))
    new = {split: set(words[split]) - common for split in ("valid", "test")}
    assert len(new["test"]) >= 10
    assert new["valid"]
    assert new["valid"].isdisjoint(new["test"])


def test_keywords_of_ones_own(tmp_path):
    corpus = SyntheticCorpus(keywords=["Zero", "one", "hey you"], n_train=30, n_valid=5, n_test=5)
    rows = table(synthesise_corpus(corpus, tmp_path, seed=3).parent)
    classes = ("Zero", "one", "hey you", "_unknown_", "_silence_")
    assert Counter(row["label"] for row in rows if row["split"] == "train") == dict.fromkeys(
        classes, 6
    )
    assert all(" " not in row["path"] for row in rows)
    corpus = corpus.model_copy(update={"n_train": 3000})
    others = {
        item.word for item in plan(corpus, 3) if item.recording.labels["label"] == "_unknown_"
    }
    assert len(others) > 40
    assert {"zero", "one"}.isdisjoint(others)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keywords": ["yes", "Yes"]}, "each word once"),
        ({"keywords": ["../yes"]}, "pattern"),
        ({"keywords": ["yes "]}, "pattern"),
        ({"keywords": ["yes"], "task": "english"}, "go with task 'keyword_spotting'"),
    ],
)
def test_keywords_that_cannot_be(values, message):
    with pytest.raises(ValidationError, match=message):
        SyntheticCorpus(**values)


def test_keywords_that_leave_no_other_word_in_train():
    words = list(unknown_words()["train"])
    with pytest.raises(ConfigError, match="to be left for _unknown_, found all of them"):
        plan(SyntheticCorpus(keywords=words, n_train=5, n_valid=5, n_test=5), seed=1)
    plan(SyntheticCorpus(keywords=words[1:], n_train=5, n_valid=5, n_test=5), seed=1)


def test_manifests(corpus, tmp_path, configured_labels):
    expected = {"train": 48, "valid": 12, "test": 24}
    assert prepare_corpus(SyntheticCorpus(), corpus, tmp_path, seed=3) == expected
    assert validate_corpus(tmp_path, label_columns=["label"]) == expected
    assert configured_labels(SyntheticCorpus(), tmp_path)


def test_same_seed_same_bytes_other_seed_others(corpus, tmp_path):
    synthesise_corpus(SyntheticCorpus(task=TASK, **SIZES), tmp_path / "same", seed=3)
    assert contents(tmp_path / "same") == contents(corpus)
    synthesise_corpus(SyntheticCorpus(task=TASK, **SIZES), tmp_path / "other", seed=4)
    same = set(contents(tmp_path / "other").values()) & set(contents(corpus).values())
    assert not same


def test_a_stopped_run_goes_on_to_the_same_result(corpus, tmp_path, monkeypatch):
    written = []

    def stop_after_ten(path, waveform, *, write=synthesis._write_wav):
        if len(written) == 10:
            raise KeyboardInterrupt
        written.append(path)
        write(path, waveform)

    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "_write_wav", stop_after_ten)
        with pytest.raises(KeyboardInterrupt):
            synthesise_corpus(SyntheticCorpus(task=TASK, **SIZES), tmp_path, seed=3)
    assert not (tmp_path / "corpus.csv").exists()
    (work,) = tmp_path.iterdir()
    kept = {path.relative_to(work): path.stat().st_mtime_ns for path in written}
    synthesise_corpus(SyntheticCorpus(task=TASK, **SIZES), tmp_path, seed=3)
    assert contents(tmp_path) == contents(corpus)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in kept} == kept


def test_a_finished_corpus_is_kept_or_made_anew(tmp_path):
    sizes = {"n_train": 12, "n_valid": 2, "n_test": 2}
    synthesise_corpus(SyntheticCorpus(task=TASK, **sizes), tmp_path, seed=0)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    synthesise_corpus(SyntheticCorpus(task=TASK, **sizes), tmp_path, seed=0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before
    synthesise_corpus(SyntheticCorpus(task=TASK, n_train=2, n_valid=2, n_test=2), tmp_path, seed=0)
    assert len(list(tmp_path.rglob("*.wav"))) == 6
    assert len(table(tmp_path)) == 6


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.wav").write_bytes(b"precious")
    with pytest.raises(CorpusError, match=r"expected an empty folder .* found train"):
        synthesise_corpus(
            SyntheticCorpus(task=TASK, n_train=1, n_valid=1, n_test=1), tmp_path, seed=0
        )
    assert (tmp_path / "train" / "mine.wav").read_bytes() == b"precious"


@pytest.mark.parametrize(("colour", "slope"), NOISE_COLOURS.items())
def test_noise_has_its_colour(colour, slope):
    noise = make_noise(np.random.default_rng(0), 2**16, colour, 16_000)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1, abs=1e-4)
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / 16_000)
    low, high = (power[(hertz > f) & (hertz < 1.25 * f)].mean() for f in (200, 3200))
    assert 10 * np.log10(low / high) == pytest.approx(slope * 10 * np.log10(16), abs=1.5)


def test_mixing_levels():
    generator = np.random.default_rng(0)
    speech = np.zeros(16_000, np.float32)
    active = slice(4_000, 8_000)
    speech[active] = generator.normal(0, 0.2, 4_000)
    noise = make_noise(generator, 16_000, "white", 16_000)
    mixed = add_noise(speech, noise, 12.0, active)
    ratio = np.mean(speech[active] ** 2) / np.mean((mixed - speech) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(12, abs=0.01)
    assert 20 * np.log10(np.sqrt(np.mean(scale_to(mixed, -30.0) ** 2))) == pytest.approx(-30)
    assert np.abs(scale_to(mixed, 20.0)).max() == pytest.approx(0.99)


def test_tilt_is_in_decibels_per_octave():
    time = np.arange(16_000) / 16_000
    for hertz, gain in ((500, -3), (1000, 0), (4000, 6)):
        tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        tilted = colour_spectrum(tone, 3.0, 16_000)
        assert 20 * np.log10(np.std(tilted) / np.std(tone)) == pytest.approx(gain, abs=0.01)


def test_the_registry_imports_nothing_heavy():
    code = (
        "import sys, speechprompt.corpora\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'soundfile', 'espeakng_loader'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_processes_with_the_same_folder_make_one_whole_corpus(corpus, tmp_path, at_once):
    def work(number):
        found = synthesise_corpus(SyntheticCorpus(task=TASK, **SIZES), tmp_path, seed=3)
        rows = table(found.parent)
        assert len(rows) == 84
        assert all((found.parent / row["path"]).is_file() for row in rows)

    assert at_once(work, 3) == [0] * 3
    assert contents(tmp_path) == contents(corpus)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
