from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from speechprompt.config.corpora import AudioSnipsCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.published.audio_snips import SPEAKERS, to_iob
from speechprompt.corpora.published.counts import spell
from speechprompt.corpora.validate import validate_corpus
from speechprompt.errors import CorpusError

TEXT = "PLAY ROCK & ROLL BY BJÖRK , O'CONNOR ."
TAGS = "O genre genre genre O artist O artist O"


def line(name: str, text: str = TEXT, tags: str = TAGS, intent: str = "PlayMusic") -> str:
    return f"{name} BOS {text} EOS\tO {tags} {intent}\n"


def names(*speakers: str) -> list[str]:
    """Every sentence in every voice, as the label file lists them."""
    return [
        f"{speaker}-snips-{split}-{number}"
        for split in ("test", "valid", "train")
        for speaker in speakers
        for number in (0, 1)
    ]


@pytest.fixture
def corpus(tmp_path, speak):
    """The label file lists all voices in all splits; audio is there for the published ones."""
    every = names("Aditi", "Brian", "Ivy", "Salli")
    (tmp_path / "SNIPS").mkdir()
    (tmp_path / "SNIPS/all.iob.snips.txt").write_text("".join(map(line, every)))
    speak(tmp_path / "SNIPS", *(f"{name.split('-')[2]}/{name}.wav" for name in every))
    return tmp_path


def rows(folder, split):
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


def test_splits_texts_and_tags(corpus, configured_labels):
    counts = prepare_corpus(AudioSnipsCorpus(), corpus, corpus / "m", seed=1)
    assert configured_labels(AudioSnipsCorpus(), corpus / "m")
    assert counts == {"train": 4, "valid": 2, "test": 2}
    assert validate_corpus(corpus / "m", label_columns=["text", "tags", "intent"]) == counts
    for split, part in ((split, rows(corpus / "m", split)) for split in counts):
        assert {row["speaker"] for row in part} <= set(SPEAKERS[split])
        assert all(row["utt_id"].startswith(f"SNIPS/{split}/") for row in part)
    row = rows(corpus / "m", "train")[0]
    assert row["utt_id"] == "SNIPS/train/Ivy-snips-train-0"
    assert row["text"] == "PLAY ROCK AND ROLL BY BJORK O'CONNOR"
    assert row["tags"] == "O B-genre I-genre I-genre O B-artist B-artist"
    assert row["intent"] == "PlayMusic"


def test_speakers_are_the_published_ones():
    assert [len(SPEAKERS[split]) for split in ("train", "valid", "test")] == [8, 4, 4]
    assert len(set().union(*SPEAKERS.values())) == 16


@pytest.mark.parametrize(
    ("text", "tags", "expected"),
    [
        # Punctuation at a slot's start or within it is no word; the slot stays one.
        (", WE WILL , ROCK YOU", "t t t t t t", "B-t I-t I-t I-t"),
        ("A B C", "x y y", "B-x B-y I-y"),
        ("A ; B", "x O x", "B-x B-x"),
        ("A , B", "O O O", "O O"),
        ("A B C", "B-x I-x B-x", "B-x I-x B-x"),
        (". A B", "B-x I-x I-x", "B-x I-x"),
        ("R&B HITS", "g g", "B-g I-g I-g I-g"),
        ("SIR-MIX 楽園追放 官方杂志", "a b b", "B-a I-a B-b"),
    ],
)
def test_tags_follow_the_words(corpus, text, tags, expected):
    every = names("Aditi", "Brian", "Ivy")
    table = corpus / "SNIPS/all.iob.snips.txt"
    table.write_text("".join(line(name, text, tags) for name in every))
    prepare_corpus(AudioSnipsCorpus(), corpus, corpus / "m", seed=1)
    row = rows(corpus / "m", "valid")[0]
    assert row["tags"] == expected
    assert len(row["text"].split()) == len(row["tags"].split())
    assert set(row["text"]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")


def test_slots_begin_where_the_name_changes():
    assert to_iob(["O", "a", "a", "b", "O", "b"]) == ["O", "B-a", "I-a", "B-b", "O", "B-b"]
    assert to_iob([]) == []


def test_spelling():
    assert spell("déjà vu – “Ænima” no. 5") == "DEJA VU ANIMA NO"
    assert spell("r&b  don’t\tstop! hip-hop") == "R AND B DON'T STOP HIP HOP"
    assert spell("12 ?") == ""


def test_changed_words_are_said(corpus, capsys):
    prepare_corpus(AudioSnipsCorpus(), corpus, corpus / "m", seed=1)
    assert "1 words had other characters (BJÖRK became BJORK)" in capsys.readouterr().err


def test_the_older_layout_of_audio(corpus):
    folder = corpus / "SNIPS"
    for path in list(folder.glob("*/*.wav")):
        speaker, sentence = path.stem.split("-", 1)
        target = folder / f"audio_{speaker}/snips/{sentence}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    assert prepare_corpus(AudioSnipsCorpus(), corpus, corpus / "m", seed=1)["train"] == 4
    assert rows(corpus / "m", "test")[0]["path"] == "SNIPS/audio_Brian/snips/snips-test-0.wav"


def test_audio_that_is_not_there_is_rejected(corpus):
    (corpus / "SNIPS/train/Ivy-snips-train-1.wav").unlink()
    with pytest.raises(CorpusError, match=r"Ivy-snips-train-1\.wav \(file not found\)"):
        prepare_corpus(AudioSnipsCorpus(), corpus, corpus / "m", seed=1)
    counts = prepare_corpus(AudioSnipsCorpus(), corpus, corpus / "m", seed=1, max_rejected=0.2)
    assert counts["train"] == 3


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (line("Ivy-snips-train-0", tags="O"), "line 1: expected .* found 11 tokens and 2 tags"),
        ("Ivy-snips-train-0 BOS A EOS O O x\n", "line 1: expected 'name BOS TEXT EOS', a tab"),
        (line("Ivy-snips-dev-0"), r"line 1: expected .*, found 'Ivy-snips-dev-0'"),
        (line("Ivy-snips-train-0", "? !", "O O"), "line 1: expected words between BOS and EOS"),
    ],
)
def test_damaged_lines_are_named(corpus, damaged, message):
    table = corpus / "SNIPS/all.iob.snips.txt"
    table.write_text(damaged + table.read_text())
    with pytest.raises(CorpusError, match=message):
        prepare_corpus(AudioSnipsCorpus(), corpus, corpus / "m", seed=1)


def test_without_the_label_file(corpus):
    (corpus / "SNIPS/all.iob.snips.txt").unlink()
    with pytest.raises(CorpusError, match="take this file from SUPERB's copy"):
        prepare_corpus(AudioSnipsCorpus(), corpus, corpus / "m", seed=1)
