import argparse
import shlex

import pytest

from speechprompt.config.corpora import CsvCorpus
from speechprompt.config.options import add_options, block_from_options, options_from_block
from speechprompt.config.tasks import Task
from speechprompt.errors import ConfigError


def parse(block, text):
    parser = argparse.ArgumentParser()
    add_options(parser, block)
    return block_from_options(parser.parse_args(shlex.split(text)), block)


@pytest.mark.parametrize(
    "block",
    [
        Task(corpus="a", lm="b", labels=["x y", "z"], balance=True, prompt={"length": 7}),
        CsvCorpus(kind="csv", table="it's [here] $HOME/a b.csv", valid_fraction=0.25),
    ],
)
def test_block_survives_the_command_line(block):
    assert parse(type(block), options_from_block(block)) == block


def test_excluded_and_null_fields_are_left_out():
    text = options_from_block(Task(corpus="a", lm="b"), exclude=frozenset({"corpus"}))
    assert "--corpus" not in text
    assert "--prompt-length 20" in text


def test_wrong_option_is_named():
    with pytest.raises(ConfigError, match="--prompt-length"):
        parse(Task, "--corpus a --lm b --prompt-length many")
