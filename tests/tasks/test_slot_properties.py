"""Any slots and any sequence of labels, in the markup and back."""

import unicodedata

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from properties import WORDS, examples, soon
from speechprompt.tasks.sequences import SlotFilling, parse_slots

TAGS = st.one_of(st.just("O"), st.tuples(st.sampled_from(["B-", "I-"]), WORDS).map("".join))
TAGGED = st.lists(
    st.tuples(WORDS.filter(lambda word: not set(word) & set("[]")), TAGS), min_size=1, max_size=6
)


def spans(tagged):
    """Slots of IOB tags; an I without its B, or of another type, opens one."""
    found, current = [], None
    for word, tag in tagged:
        slot = None if tag == "O" else tag[2:]
        if slot is not None and (tag.startswith("B-") or slot != current):
            found.append((slot, [word]))
        elif slot is not None:
            found[-1][1].append(word)
        current = slot
    return found


@examples(300)
@given(tagged=TAGGED)
def test_slots_come_back_from_their_markup(tagged):
    def written(words):
        return " ".join(unicodedata.normalize("NFC", " ".join(words).upper()).split())

    words, tags = zip(*tagged, strict=True)
    table = pa.table({"utt_id": ["u"], "text": [" ".join(words)], "tags": [" ".join(tags)]})
    labels = SlotFilling.from_train(table, ["text", "tags"], "train")
    (answer,) = labels.references(table, "train")
    text, slots = parse_slots(answer)
    assert text == written(words)
    composed = [(unicodedata.normalize("NFC", slot), own) for slot, own in spans(tagged)]
    assert slots == [(slot, written(own)) for slot, own in composed]
    assert "".join(labels.split(answer)) == answer
    assert labels.decode(labels.encode(answer)) == answer


@examples(200)
@given(symbols=st.lists(st.sampled_from(["[a:", "[b\\]:", "]", "A", " ", "\\", ":", "["])))
def test_any_sequence_of_labels_can_be_read(symbols):
    with soon(()):
        text, slots = parse_slots("".join(symbols))
    assert len(slots) <= sum(symbol.startswith("[") for symbol in symbols)
    assert text == " ".join(text.split())
