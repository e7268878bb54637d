import json
from typing import get_args

import pytest

from speechprompt.config.corpora import AnyCorpus, CsvCorpus, FsddCorpus
from speechprompt.config.tasks import Task
from speechprompt.config.values import block_from_value, block_to_json
from speechprompt.errors import ConfigError

TASK = Task(corpus="a", lm="b", labels=["x y", "z"], balance=True, prompt={"length": 7})


@pytest.mark.parametrize(
    "block",
    [
        TASK,
        Task(corpus="a", lm="b", training={"lr": 5e-5}),
        CsvCorpus(kind="csv", table="it's [here] $HOME/a b.csv", valid_fraction=0.25),
    ],
)
def test_a_block_survives_as_one_value(block, tmp_path):
    text = block_to_json(block)
    assert block_from_value(text, type(block)) == block
    for ending in ("json", "yaml"):
        file = tmp_path / f"settings.{ending}"
        file.write_text(text)
        assert block_from_value(str(file), type(block)) == block


def test_the_kind_tells_corpora_apart():
    assert get_args(AnyCorpus)
    found = block_from_value("{kind: fsdd, test_speaker: theo}", AnyCorpus)
    assert found == FsddCorpus(test_speaker="theo")


def test_excluded_fields_are_left_out():
    text = json.loads(block_to_json(Task(corpus="a", lm="b"), exclude={"corpus"}))
    assert "corpus" not in text
    assert text["prompt"]["length"] == 20


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{corpus: a, lm: b, prompt: {length: many}}", "--settings: prompt.length: .*'many'"),
        (
            "{corpus: a, lm: b, prompt: {lenght: 3}}",
            "prompt.lenght: Extra inputs.*did you mean 'length'",
        ),
        ("{corpus: a, lm: b, lables: [x]}", "lables: Extra inputs.*did you mean 'labels'"),
        ("{corpus: a}", "--settings: lm: Field required"),
        ("{corpus: a/b, lm: b}", "--settings: corpus: a name has only letters.*, found 'a/b'"),
        ("{corpus: [", "expected YAML or JSON"),
        ("{corpus: a, lm: b, corpus: c}", "the key 'corpus' is there already"),
        ('{"corpus": "a", "lm": "b", "lm": "c"}', "the key 'lm' is there twice"),
        ("[" * 5000, "nested too deeply"),
        ("nowhere/settings.yaml", "settings.yaml: cannot be read"),
        ("[1]", "--settings: Input should be"),
    ],
)
def test_what_is_wrong_is_named(value, expected):
    with pytest.raises(ConfigError, match=expected):
        block_from_value(value, Task)
