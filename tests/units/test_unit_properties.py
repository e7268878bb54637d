"""Any bytes as lines of units, units of another program or a dictionary."""

import unicodedata

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from properties import WORDS, edited, examples, soon
from speechprompt.config.corpora import UnitsCorpus
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.lm.dictionary import read_dictionary
from speechprompt.units.text_corpus import prepare_units, read_vocabulary
from speechprompt.units.text_forms import read_lines

UNITS = st.lists(st.integers(0, 4), min_size=1, max_size=6)
PLAIN_WORDS = WORDS.filter(lambda word: "|" not in word and not word.startswith("\ufeff"))


def prepared(tmp_path, lines, dictionary="0 1\n1 1\n2 1\n3 1\n4 1\n"):
    (tmp_path / "dict.txt").write_text(dictionary, encoding="utf-8")
    for name in ("train.txt", "valid.txt"):
        mode = "wb" if isinstance(lines, bytes) else "w"
        with (tmp_path / name).open(mode, **{} if mode == "wb" else {"encoding": "utf-8"}) as file:
            file.write(lines)
    corpus = UnitsCorpus(
        kind="units",
        codebook="book",
        train=str(tmp_path / "train.txt"),
        valid=str(tmp_path / "valid.txt"),
        dev_fraction=0,
        deduplicate=False,
    )
    out = tmp_path / "units.parquet"
    prepare_units("train", out, corpus, dictionary=tmp_path / "dict.txt")
    return pq.read_table(out).to_pylist()


@examples(40)
@given(rows=st.lists(st.tuples(PLAIN_WORDS, UNITS, PLAIN_WORDS), min_size=1, max_size=4))
def test_unit_lines_come_back(tmp_path, rows):
    named = "".join(f"{name}|{' '.join(map(str, units))}|{label}\n" for name, units, label in rows)
    plain = "".join(f"{' '.join(map(str, units))} <s> {label}\n" for _, units, label in rows)
    for lines in (named, plain):
        found = prepared(tmp_path, lines)
        assert [row["units"] for row in found] == [units for _, units, _ in rows]
        composed = [unicodedata.normalize("NFC", label) for _, _, label in rows]
        assert [unicodedata.normalize("NFC", row["label"]) for row in found] == composed


@examples(120)
@given(
    lines=st.one_of(
        st.binary(max_size=60),
        edited(b"a.wav|0 1 2|yes\nb.wav|4 3|no\n"),
        edited("0 1 2 <s> yes\n4 3 \u00b2 \u0663 <s> no\n".encode()),
    )
)
def test_any_bytes_are_unit_lines_or_an_error(tmp_path, lines):
    with soon(CorpusError, tmp_path):
        found = prepared(tmp_path, lines)
        assert all(0 <= unit < 5 for row in found for unit in row["units"])


@examples(150)
@given(
    lines=st.one_of(
        edited(b"{'audio': 'a.wav', 'hubert': '1 1 2', 'duration': 0.06}\n"),
        edited(b'{"units": [1, 2], "duration": [2, 1], "file_name": "a"}\n<Un1><Un2>\n'),
        edited(b"a.wav\t1 2 3\nb.wav\t2\n"),
        st.sampled_from([b"{'a': " + b"[" * 10**5, b"{'a': '" + b"9 " * 10**5, b"{'" * 10**5]),
    )
)
def test_any_bytes_are_units_of_another_program_or_an_error(tmp_path, lines):
    path = tmp_path / "other.txt"
    path.write_bytes(lines)
    with soon(CorpusError, path):
        for line in read_lines(path, 5, CorpusError):
            assert all(0 <= unit < 5 for unit in line.units)
            assert line.durations is None or len(line.durations) == len(line.units)


@pytest.mark.parametrize("digits", ["9" * 12, "9" * 5000, "\u00b2", "\u0663" * 3])
def test_a_unit_of_any_length_is_an_error(tmp_path, digits):
    for lines, dictionary in (
        (f"{digits} <s> yes\n", "0 1\n1 1\n"),
        ("0 <s> a\n", f"{digits} 1\n"),
    ):
        with soon(), pytest.raises(CorpusError):
            prepared(tmp_path, lines, dictionary)


@examples(150)
@given(content=st.one_of(st.binary(max_size=40), edited(b"0 1\n1 1\n2 1\nmadeupword0000 0\n")))
def test_any_bytes_are_a_dictionary_or_an_error(tmp_path, content):
    path = tmp_path / "dict.txt"
    path.write_bytes(content)
    for read, error in ((read_vocabulary, CorpusError), (read_dictionary, ArtefactError)):
        with soon(error, path):
            read(path)
