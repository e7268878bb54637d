"""Any text as YAML or JSON."""

import json

import yaml
from hypothesis import given
from hypothesis import strategies as st

from properties import VALUES_OF_SETTINGS, edited, examples, soon
from speechprompt.config import read_config
from speechprompt.config.text import parse_text, parse_yaml
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.storage.files import read_json

MARKS = ["&a ", "*a", "&b ", "*b", "[", "]", "{", "}", ",", ": ", "? ", "<<: ", "- ", "\n", "  "]
YAML = st.lists(st.sampled_from([*MARKS, "x", "1", "1:1:1", "~", '"', "'", "|", "#", "!!set "]))


@examples(150)
@given(value=VALUES_OF_SETTINGS)
def test_settings_come_back_from_yaml_and_from_json(value):
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True)) == value
    assert parse_text(json.dumps(value)) == value


@examples(300)
@given(
    text=st.one_of(YAML.map("".join), st.text(max_size=40)),
    content=st.one_of(st.binary(max_size=30), edited(b"a: &x {b: [1, 2]}\nc: *x\nd: {<<: *x}\n")),
)
def test_any_text_is_yaml_or_an_error(tmp_path, text, content):
    with soon():
        parse_text(text)
    path = tmp_path / "setup.yaml"
    path.write_bytes(content)
    with soon(ConfigError, path):
        assert isinstance(read_config(path), dict)
    with soon(ArtefactError, path):
        read_json(path)
