from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from speechprompt.config.corpora import SpeechCommandsCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.published.speech_commands import (
    CLASSES,
    cut_silence,
    hash_split,
)
from speechprompt.corpora.validate import validate_corpus
from speechprompt.errors import CorpusError

TRAIN, TEST = "speech_commands_v0.01", "speech_commands_test_set_v0.01"
WORDS = (*CLASSES[:10], "bed", "wow")


def test_the_rule_on_the_published_names(shared_data):
    lines = (shared_data / "units/speech_commands/valid.txt").read_text().splitlines()
    names = {line.split("|")[0] for line in lines}
    noises = {name for name in names if "_background_noise_" in name}
    speech = names - noises
    assert len(speech) > 2700
    assert {hash_split(name.rsplit("/", 1)[1]) for name in speech} == {"valid"}
    splits = Counter(hash_split(name.rsplit("/", 1)[1]) for name in noises)
    assert splits == {"train": 484, None: 65, "valid": 46}


def test_the_rule_on_made_up_speakers():
    speakers = [f"{number:08x}" for number in range(10_000)]
    splits = Counter(hash_split(f"{speaker}_nohash_0.wav") for speaker in speakers)
    assert splits["train"] == pytest.approx(8000, abs=150)
    assert splits["valid"] == pytest.approx(1000, abs=120)
    assert splits[None] == pytest.approx(1000, abs=120)
    for speaker in speakers[:50]:
        assert len({hash_split(f"{speaker}_nohash_{take}.wav") for take in range(3)}) == 1


@pytest.fixture
def noises():
    """Write noises of so many seconds."""

    def write(folder, **seconds: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, length in seconds.items():
            generator = np.random.default_rng(len(name))
            samples = generator.integers(-9000, 9000, int(length * 16_000)).astype(np.int16)
            soundfile.write(folder / f"{name}.wav", samples, 16_000)

    return write


def speakers_by_split() -> dict[str | None, list[str]]:
    found: dict[str | None, list[str]] = {"train": [], "valid": [], None: []}
    for number in range(200):
        name = f"{number:08x}"
        found[hash_split(f"{name}_nohash_0.wav")].append(name)
    return found


@pytest.fixture
def corpus(tmp_path, speak, noises):
    speakers = speakers_by_split()
    chosen = [*speakers["train"][:3], speakers["valid"][0], speakers[None][0]]
    names = [f"{TRAIN}/{word}/{who}_nohash_0.wav" for word in WORDS for who in chosen]
    names += [f"{TEST}/{label}/{chosen[4]}_nohash_1.wav" for label in CLASSES[:11]]
    speak(tmp_path, *names, f"{TEST}/_silence_/running_tap-7.wav")
    noises(tmp_path / TRAIN / "_background_noise_", pink=3, tap=2.5)
    return tmp_path


def rows(folder, split):
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


def test_splits_and_labels(corpus, configured_labels):
    counts = prepare_corpus(SpeechCommandsCorpus(n_silence=40), corpus, corpus / "m", seed=1)
    assert configured_labels(SpeechCommandsCorpus(), corpus / "m")
    train, valid, test = (rows(corpus / "m", split) for split in ("train", "valid", "test"))
    silence = {
        split: [row for row in part if row["label"] == "_silence_"]
        for split, part in {"train": train, "valid": valid}.items()
    }
    assert counts["train"] == 3 * len(WORDS) + len(silence["train"])
    assert counts["valid"] == len(WORDS) + len(silence["valid"])
    assert 25 <= len(silence["train"]) <= 38
    assert counts["test"] == 12
    # The published order of the classes is that of first appearance.
    for part in (train, test):
        assert tuple(dict.fromkeys(row["label"] for row in part)) == CLASSES
    assert {row["label"] for row in train if "/bed/" in row["path"]} == {"_unknown_"}
    assert {row["speaker"] for row in silence["train"]} == {None}
    who = [{row["speaker"] for row in part} - {None} for part in (train, valid)]
    assert not who[0] & who[1]
    discarded = speakers_by_split()[None][0]
    assert discarded not in who[0] | who[1]
    assert discarded in {row["speaker"] for row in test}
    assert train[0]["utt_id"].startswith(f"{TRAIN}/yes/")
    assert validate_corpus(corpus / "m", label_columns=["label"]) == counts


def test_crops_are_distinct_seconds_of_the_noises(tmp_path, noises):
    noises(tmp_path / "noises", pink=3, tap=2.5)
    names = cut_silence(tmp_path / "noises", tmp_path / "silence", 21, seed=3)
    assert sorted(names) == sorted(path.name for path in (tmp_path / "silence").iterdir())
    assert len(set(names)) == 21
    assert Counter(name.split("-")[0] for name in names) == {"pink": 10, "tap": 11}
    for name in names:
        samples, rate = soundfile.read(tmp_path / "silence" / name, dtype="int16")
        noise, start = name.removesuffix(".wav").split("-")
        source, _ = soundfile.read(tmp_path / "noises" / f"{noise}.wav", dtype="int16")
        assert rate == 16_000
        assert np.array_equal(samples, source[int(start) : int(start) + 16_000])

    before = {name: (tmp_path / "silence" / name).read_bytes() for name in names}
    assert cut_silence(tmp_path / "noises", tmp_path / "silence", 21, seed=3) == names
    assert {name: (tmp_path / "silence" / name).read_bytes() for name in names} == before
    assert cut_silence(tmp_path / "noises", tmp_path / "silence", 21, seed=4) != names


def test_manifests_depend_on_the_seed_only_in_silence(corpus):
    for folder, seed, threads in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        settings = SpeechCommandsCorpus(n_silence=40)
        prepare_corpus(settings, corpus, corpus / folder, seed=seed, threads=threads)
    for split in ("train", "valid", "test"):
        name = f"{split}.parquet"
        assert (corpus / "a" / name).read_bytes() == (corpus / "b" / name).read_bytes()
        speech = [
            [row for row in rows(corpus / folder, split) if row["label"] != "_silence_"]
            for folder in "ac"
        ]
        assert speech[0] == speech[1]
    assert rows(corpus / "a", "train") != rows(corpus / "c", "train")


def test_what_is_missing_is_named(corpus, noises):
    with pytest.raises(CorpusError, match=r"tap\.wav: expected room for 30000 crops"):
        prepare_corpus(SpeechCommandsCorpus(n_silence=60_000), corpus, corpus / "m", seed=1)
    assert not (corpus / "silence").exists()
    assert not list(corpus.glob(".*"))
    (corpus / TRAIN / "go").rename(corpus / "gone")
    with pytest.raises(CorpusError, match=r"v0\.01/go: expected this keyword's folder"):
        prepare_corpus(SpeechCommandsCorpus(), corpus, corpus / "m", seed=1)
    (corpus / "gone").rename(corpus / TRAIN / "go")
    (corpus / TEST / "_unknown_").rename(corpus / "gone")
    with pytest.raises(CorpusError, match=r"_unknown_: expected this class's folder"):
        prepare_corpus(SpeechCommandsCorpus(), corpus, corpus / "m", seed=1)
    with pytest.raises(CorpusError, match="expected background noises"):
        cut_silence(corpus / "m", corpus / "silence", 5, seed=1)
    (corpus / "noise").mkdir()
    (corpus / "noise/n.wav").write_text("not audio")
    with pytest.raises(CorpusError, match=r"n\.wav: cannot be read as audio"):
        cut_silence(corpus / "noise", corpus / "silence", 5, seed=1)
