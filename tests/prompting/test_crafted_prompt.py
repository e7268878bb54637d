"""A prompt file whose metadata are crafted, or of another program, is told by its name."""

import json
import struct

import pytest

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.scored_splits import check_described
from speechprompt.prompting.task_file import load_task_model
from speechprompt.storage.seals import SEAL


def craft(path, **changes):
    """Change entries of a safetensors file's metadata; the file has no seal then."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    about = header["__metadata__"]
    about.pop(SEAL, None)
    for name, value in changes.items():
        about[name] = json.dumps(value)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


@pytest.mark.parametrize(
    "changes",
    [
        {"verbalizer": []},
        {"verbalizer": {"kind": "frequency"}},
        {"verbalizer": {"kind": "learnable", "units": [{"a": None}]}},
        {"allowed": [[10**30]]},
        {"allowed": 5},
        {"prompt": {"length": "x"}},
        {"prompt": [1]},
        {"lm_sha256": None},
    ],
)
def test_crafted_metadata_are_told_of_the_file(copied, changes):
    path = copied / "results/ks/prompt.safetensors"
    lm = copied / "results/lm/tiny/model.safetensors"
    craft(path)
    load_task_model(path, lm)
    craft(path, **changes)
    with pytest.raises(ArtefactError) as caught:
        load_task_model(path, lm)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"seed": 1.5}, {"seed": True}, {"method": ""}, {"trainable_parameters": None}]
)
def test_what_a_score_takes_from_a_training_has_its_type(wrong):
    right = {"method": "prompt", "seed": 1, "trainable_parameters": 5}
    check_described(right)
    with pytest.raises(ValueError, match="expected"):
        check_described(right | wrong)
