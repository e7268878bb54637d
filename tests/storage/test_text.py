"""What text of unknown origin looks like on a terminal and in a sheet."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from properties import examples
from speechprompt.cli import main
from speechprompt.runtime.progress import log, log_to, progress, show
from speechprompt.storage.text import cell_text, printable

HOSTILE = "a\x1b]0;title\x07\x1b[2K\rb\nc\td\x9b31m\x7f\u2028\u202eexe"
SHOWN = "a\\x1b]0;title\\x07\\x1b[2K\\rb\\nc\\td\\u009b31m\\u007f\\u2028\\u202eexe"


def test_control_characters_are_escapes_and_all_other_text_stays():
    assert printable(HOSTILE) == SHOWN
    assert printable("a\nb", lines=True) == "a\nb"
    for text in ("naïve 北京 می‌خواهم 👩‍🔬 \\n", "", "a  b"):
        assert printable(text) == text


def test_json_stays_json_with_the_same_values():
    value = {HOSTILE: [HOSTILE, "北京"]}
    for indent in (None, 2):
        text = json.dumps(value, ensure_ascii=False, indent=indent)
        shown = printable(text, lines=True)
        assert json.loads(shown) == value
        assert not {"\x1b", "\x9b", "\x7f", "\u202e"} & set(shown)


@pytest.mark.parametrize("mark", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_is_no_formula(mark):
    assert cell_text(f"{mark}cmd|' /C calc'!A0")[:1] == "'"
    assert cell_text("train/1.wav") == "train/1.wav"
    assert cell_text(f"a{HOSTILE}") == f"a{SHOWN}"


def test_every_way_to_a_terminal_and_to_a_log_is_escaped(tmp_path, capsys):
    log_to(tmp_path / "run.log")
    log(HOSTILE)
    log("first\nsecond", lines=True)
    show(f"{HOSTILE}\n{HOSTILE}"[:9])
    list(progress([1], HOSTILE))
    written = capsys.readouterr()
    assert written.err == f"{SHOWN}\nfirst\nsecond\n"
    assert "\x1b" not in written.out
    assert (tmp_path / "run.log").read_text() == f"{SHOWN}\nfirst\nsecond\n"


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", HOSTILE],
        ["check-config", HOSTILE],
        ["predict", HOSTILE, HOSTILE],
        ["import-hubert", HOSTILE, "--out", HOSTILE],
        ["fit-codebook", "--sample", HOSTILE, "--n-units", "5", "--out", HOSTILE],
        ["prepare-csv", "--table", HOSTILE, "--out", HOSTILE],
        ["inspect", "a", "b", HOSTILE],
        [HOSTILE],
    ],
)
def test_errors_show_names_escaped_and_in_one_line(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(words)
    except SystemExit as left:
        status = left.code
    assert status in (1, 2)
    shown = capsys.readouterr().err
    assert not set(shown) & set("\x1b\x07\r\t\x9b\x7f\u2028\u202e")
    if status == 1:
        assert len(shown.splitlines()) == 1


@examples(200)
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=12))
def test_what_is_shown_has_no_controls_and_json_stays_json(text):
    shown = printable(text)
    assert not any(unicodedata.category(mark) in ("Cc", "Zl", "Zp") for mark in shown)
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text
