"""Generated answers: from columns to labels, and back from any sequence of labels."""

import pyarrow as pa
import pytest

from speechprompt.errors import CorpusError
from speechprompt.tasks.labels import restore_labels
from speechprompt.tasks.sequences import UNKNOWN, SlotFilling, Transcription, parse_slots

TABLE = pa.table(
    {
        "utt_id": ["a", "b", "c"],
        "text": ["play  madonna on spotify", "Play New York York", "stop"],
        "tags": ["O B-artist O B-service", "O B-city I-city B-city", "O"],
    }
)
WRITTEN = ["PLAY [artist:MADONNA] ON [service:SPOTIFY]", "PLAY [city:NEW YORK] [city:YORK]", "STOP"]


def test_tags_become_marks():
    labels = SlotFilling.from_train(TABLE, ("text", "tags"), "train")
    assert labels.references(TABLE, "train") == WRITTEN


def test_encode_and_decode_are_inverse():
    labels = SlotFilling.from_train(TABLE, ("text", "tags"), "train")
    for answer in WRITTEN:
        assert labels.decode(labels.encode(answer)) == answer


def test_every_type_opens_with_its_own_label_and_all_close_with_one():
    labels = SlotFilling.from_train(TABLE, ("text", "tags"), "train")
    marks = [name for name in labels.names if len(name) > 1 or name == "]"]
    assert sorted(marks) == sorted(["[artist:", "[city:", "[service:", "]"])
    assert len(labels.encode(WRITTEN[0])) == len("PLAY MADONNA ON SPOTIFY") + 4


def test_transcription_labels_are_the_train_characters_in_order_of_appearance():
    labels = Transcription.from_train(TABLE, ("text",), "train")
    assert "".join(labels.names).startswith("PLAY MDON")
    assert labels.allowed is None
    assert labels.decode(labels.encode("STOP PLAY")) == "STOP PLAY"
    with pytest.raises(ValueError, match="not in tuple"):
        labels.encode("ZEBRA")


def test_labels_survive_the_prompt_file():
    for labels in (
        SlotFilling.from_train(TABLE, ("text", "tags"), "train"),
        Transcription.from_train(TABLE, ("text",), "train"),
    ):
        assert restore_labels(labels.state()) == labels


@pytest.mark.parametrize(
    ("answer", "text", "slots"),
    [
        (WRITTEN[0], "PLAY MADONNA ON SPOTIFY", [("artist", "MADONNA"), ("service", "SPOTIFY")]),
        ("PLAY [artist:MADONNA ON", "PLAY MADONNA ON", [("artist", "MADONNA ON")]),
        ("[a:ONE [b:TWO]", "ONE TWO", [("a", "ONE"), ("b", "TWO")]),
        ("A] B]", "A B", []),
        ("[a:]", "", [("a", "")]),
        ("", "", []),
        (f"A{UNKNOWN}", f"A{UNKNOWN}", []),
    ],
)
def test_any_sequence_of_labels_has_a_reading(answer, text, slots):
    assert parse_slots(answer) == (text, slots)


def test_a_unit_that_is_no_label_shows_as_such():
    labels = Transcription.from_train(TABLE, ("text",), "train")
    assert labels.decode([0, -1]) == "P" + UNKNOWN


@pytest.mark.parametrize(
    ("text", "tags", "found"),
    [
        ("two words", "O", "2 words and 1 tags"),
        ("two words", "O X", "'X'"),
        ("two [words", "O O", r"no '\['"),
    ],
)
def test_wrong_tags_are_refused_with_the_utterance(text, tags, found):
    table = pa.table({"utt_id": ["u7"], "text": [text], "tags": [tags]})
    with pytest.raises(CorpusError, match=f"units.json.*'u7'.*{found}"):
        SlotFilling.from_train(table, ("text", "tags"), "units.json")


def test_no_text_and_no_column_are_refused():
    with pytest.raises(CorpusError, match="no text"):
        Transcription.from_train(pa.table({"utt_id": ["a"], "text": [""]}), ("text",), "f")
    with pytest.raises(CorpusError, match="'words'"):
        Transcription.from_train(TABLE, ("words",), "f")
