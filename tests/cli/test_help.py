"""What the command line says to a person who does not know it yet."""

import pytest

from speechprompt.cli import main
from speechprompt.cli.verbs import VERBS

GROUPS = ["Use", "Data", "Train", "Models", "Internals"]


def refused(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_verbs_are_listed_in_groups_with_the_everyday_ones_first(words, capsys):
    if words:
        with pytest.raises(SystemExit):
            main(words)
    else:
        assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line[:-1] for line in lines if line[:1].isupper() and line.endswith(":")]
    assert titles == GROUPS
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert set(VERBS) <= set(listed)
    assert listed.index("predict") < listed.index("prepare-csv") < listed.index("gather-units")


def test_lines_fit_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["predct"], "no such verb: 'predct'; did you mean 'predict'?"),
        (["xyzzy"], "no such verb: 'xyzzy'; `speechprompt` lists all"),
        (["predict", "--jsno", "a"], "no such option: --jsno; did you mean '--json'?"),
        (["train-prompt", "--nmae=ks"], "no such option: --nmae; did you mean '--name'?"),
        (["predict", "a", "--quux"], "no such option: --quux; --help lists all"),
        (["predict", "a", "--log", "b"], "--log stands before the verb"),
        (["predict", "a", "--device", "tpu"], "no such value: 'tpu'; expected auto, cpu, cuda"),
        (
            ["copy-shipped", "hubert-nano", "--out", "x"],
            "no such value: 'hubert-nano'; did you mean 'hubert-nano.safetensors'? expected "
            "hubert-nano.safetensors, hubert-nano-50.safetensors, hubert-nano-100.safetensors, "
            "hubert-nano-200.safetensors, unit-lm-nano.safetensors, words-nano.safetensors",
        ),
        (
            ["download-model", "hubert_km60.bin", "--out", "x"],
            "no such value: 'hubert_km60.bin'; did you mean 'hubert_km50.bin'?",
        ),
    ],
)
def test_what_was_meant(words, expected, capsys):
    assert expected in refused(words, capsys)


def test_values_that_look_like_options_arrive(capsys):
    assert "no such option" not in refused(["train-prompt", "--name=--x", "--out", "--"], capsys)


@pytest.mark.parametrize(
    ("verb", "shown"),
    [
        ("fit-ngram-baseline", "{classification,transcription,slot_filling}"),
        (
            "download-corpus",
            "{fsdd,speech_commands,fluent_speech_commands,librispeech,audio_snips,speech_commands_v2,"
            "mini_speech_commands,lt_speech_commands}",
        ),
        ("predict", "{auto,cpu,cuda}"),
        ("copy-shipped", "hubert-nano.safetensors, hubert-nano-50.safetensors"),
        ("download-model", "hubert_km50.bin"),
    ],
)
def test_options_with_fixed_values_show_them(verb, shown, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert shown.replace(" ", "") in "".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("verb", VERBS)
def test_defaults_are_values_that_a_person_can_type(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "()" not in shown
    assert shown.count("(default") == shown.count("(default: ")
    assert ") (default: " not in shown
