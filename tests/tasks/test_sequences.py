"""Generated answers: from columns to labels, and back from any sequence of labels."""

import unicodedata

import pyarrow as pa
import pytest

from speechprompt.errors import CorpusError
from speechprompt.tasks.classification import Classification, split_answer
from speechprompt.tasks.labels import encode_references, restore_labels
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


@pytest.mark.parametrize("kind", ["date:time", "a[0]", "x]", "[", ":", "back\\slash", "\\", "p|q"])
def test_any_slot_type_survives_the_marks(kind):
    table = pa.table(
        {
            "utt_id": ["a", "b"],
            "text": ["wake me at ten", "ten"],
            "tags": [f"O O B-{kind} I-{kind}", f"B-{kind}"],
        }
    )
    labels = SlotFilling.from_train(table, ("text", "tags"), "train")
    answers = labels.references(table, "train")
    assert parse_slots(answers[0]) == ("WAKE ME AT TEN", [(kind, "AT TEN")])
    assert parse_slots(answers[1]) == ("TEN", [(kind, "TEN")])
    for answer in answers:
        assert labels.decode(labels.encode(answer)) == answer
    assert len(labels.encode(answers[1])) == len("TEN") + 2


def test_a_transcript_has_no_marks():
    table = pa.table({"utt_id": ["a"], "text": ["see [note:one]"]})
    labels = Transcription.from_train(table, ("text",), "train")
    assert all(len(name) == 1 for name in labels.names)


def test_text_is_composed_once_and_unknown_symbols_have_code_points():
    composed, apart = (unicodedata.normalize(form, "café ñ") for form in ("NFC", "NFD"))
    tables = [pa.table({"utt_id": ["a"], "text": [text]}) for text in (composed, apart)]
    labels = Transcription.from_train(tables[1], ("text",), "train")
    assert labels == Transcription.from_train(tables[0], ("text",), "train")
    for table in tables:
        (reference,) = labels.references(table, "dev")
        assert reference == "CAF\N{LATIN CAPITAL LETTER E WITH ACUTE} \u00d1"
        encode_references(labels, ["a"], [reference], "dev")
    with pytest.raises(CorpusError, match=r"never had: 'B', 'Ø' \(U\+00D8 LATIN CAPITAL LETTER O"):
        encode_references(labels, ["a"], ["BAØ"], "dev")


def test_labels_of_a_classification_are_composed_too():
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    table = pa.table({"utt_id": ["a", "b", "c"], "label": [*forms, "tea"]})
    labels = Classification.from_train(table, ["label"], "train")
    assert labels.names == [forms[0], "tea"]
    assert labels.references(table, "test") == [forms[0], forms[0], "tea"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": ["same", "same"]}, "'a' has the same value 'same' in all of train"),
        ({"a": ["x", "y"], "b": ["same", "same"]}, "'b' has the same value"),
        ({"a": ["x |", "y"], "b": ["1", "2"]}, r"a 'x \|': a label must not hold"),
        ({"a": ["x", "y"], "b": ["| 1", "2"]}, r"b '\| 1': a label must not hold"),
        ({"a": ["x", ""]}, "'a' has an empty value"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(columns, message):
    table = pa.table({"utt_id": ["a", "b"], **columns})
    with pytest.raises(CorpusError, match=message):
        Classification.from_train(table, list(columns), "train")


def test_an_answer_is_split_into_its_columns():
    assert split_answer("on | lamp", 2) == ["on", "lamp"]
    assert split_answer("on | lamp", 1) == ["on | lamp"]
    assert split_answer("", 2) == ["", ""]
    labels = Classification(("label",), (("on", "on | lamp"),))
    assert labels.decode(labels.encode("on | lamp")) == "on | lamp"


def test_labels_that_look_alike_are_warned_of(capsys):
    words = ["yes", "yes\u200b", "lights on", "lights  on", "Yes", "other"]
    table = pa.table({"utt_id": list("abcdef"), "label": words})
    assert Classification.from_train(table, ["label"], "train").names == words
    assert capsys.readouterr().err.splitlines() == [
        "warning: label 'yes' and 'yes\\u200b' are two labels",
        "warning: label 'lights on' and 'lights  on' are two labels",
        "warning: label 'yes' and 'Yes' are two labels",
    ]


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
