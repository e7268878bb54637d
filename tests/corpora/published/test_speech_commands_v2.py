"""Speech Commands v0.02 with 35 and with twelve classes."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from speechprompt.config import parse_config
from speechprompt.config.corpora import SpeechCommandsV2Corpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.published.speech_commands import CLASSES, hash_split
from speechprompt.corpora.validate import validate_corpus
from speechprompt.errors import CorpusError
from speechprompt.workflow.plan import Plan

WORDS, TEST = "speech_commands_v0.02", "speech_commands_test_set_v0.02"


@pytest.fixture
def corpus(tmp_path, speak):
    """Thirteen words by speakers of all splits, with the published lists."""
    speakers = {}
    for number in range(300):
        speakers.setdefault(hash_split(f"{number:08x}_nohash_0.wav") or "test", f"{number:08x}")
    names = [
        f"{word}/{who}_nohash_0.wav"
        for word in (*CLASSES[:10], "bed", "forward", "learn")
        for who in speakers.values()
    ]
    speak(tmp_path, *(f"{WORDS}/{name}" for name in names))
    for split, file in (("valid", "validation_list.txt"), ("test", "testing_list.txt")):
        listed = [name for name in names if speakers[split] in name]
        (tmp_path / WORDS / file).write_text("".join(f"{name}\n" for name in listed))
    return tmp_path


def rows(folder, split):
    return pq.read_table(folder / f"m/{split}.parquet").to_pylist()


def test_all_words_by_the_published_lists(corpus, configured_labels, capsys):
    counts = prepare_corpus(SpeechCommandsV2Corpus(), corpus, corpus / "m", seed=1)
    assert counts == {"train": 13, "valid": 13, "test": 13}
    assert "as published it has 84843" in capsys.readouterr().err
    assert configured_labels(SpeechCommandsV2Corpus(), corpus / "m")
    for split in counts:
        found = rows(corpus, split)
        assert {row["label"] for row in found} == {*CLASSES[:10], "bed", "forward", "learn"}
        name = found[0]["path"].rsplit("/", 1)[1]
        assert (hash_split(name) or "test") == split
    assert validate_corpus(corpus / "m", label_columns=["label"]) == counts


def test_twelve_classes_and_the_test_archive(corpus, speak):
    folder = corpus / WORDS / "_background_noise_"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(-9000, 9000, 50_000).astype(np.int16)
    soundfile.write(folder / "pink.wav", noise, 16_000)
    archive = corpus / "archive"
    speak(archive, *(f"{label}/0_nohash_1.wav" for label in CLASSES))
    archive.rename(corpus / TEST)
    settings = SpeechCommandsV2Corpus(classes=12, n_silence=20)
    # The same digits stand for words and for the archive here.
    counts = prepare_corpus(settings, corpus, corpus / "m", seed=1)
    assert counts["test"] == 12
    assert [row["label"] for row in rows(corpus, "test")] == list(CLASSES)
    labels = [row["label"] for row in rows(corpus, "train")]
    assert labels.count("_unknown_") == 3
    assert labels.count("_silence_") > 10


def test_what_is_missing_is_named(corpus):
    (corpus / WORDS / "go").rename(corpus / "gone")
    with pytest.raises(CorpusError, match=r"go/.*\.wav: expected this recording.* 2 of 2"):
        prepare_corpus(SpeechCommandsV2Corpus(), corpus, corpus / "m", seed=1)
    (corpus / WORDS / "testing_list.txt").unlink()
    with pytest.raises(CorpusError, match=r"testing_list\.txt: cannot be read"):
        prepare_corpus(SpeechCommandsV2Corpus(), corpus, corpus / "m", seed=1)


@pytest.mark.parametrize(("classes", "folders"), [(35, [WORDS]), (12, [WORDS, TEST, "silence"])])
def test_only_what_is_needed_is_downloaded(classes, folders):
    corpora = {"sc": {"kind": "speech_commands_v2", "classes": classes}}
    plan = Plan(parse_config({"corpora": corpora})).corpora
    assert [path.split("/")[-1] for path in plan.recordings("sc", "train")] == folders
    assert (plan.with_silence() == "sc") == (classes == 12)
    assert (plan.only_listed() == "sc") == (classes == 35)
