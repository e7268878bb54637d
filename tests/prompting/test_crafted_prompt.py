"""A prompt file whose metadata are crafted, or of another program, is told by its name."""

import json
import resource
import struct
from pathlib import Path

import pytest

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.scored_splits import check_described
from speechprompt.lm.artefact import load_lm
from speechprompt.prompting.task_file import load_task_model
from speechprompt.storage.seals import SEAL
from speechprompt.storage.tensors import read_tensor_metadata
from speechprompt.units.codebook import load_codebook


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
        {"combinations": 5},
        {"combinations": [[99]]},
        {"combinations": [[0, 0]]},
        {"combinations": []},
        {"combinations": [[0], [0]]},
        {"combinations": [[0.0]]},
        {"combinations": [[False]]},
        {"combinations": "x"},
        {"prompt": {"length": "x"}},
        {"prompt": {"length": 2, "front": 2}},
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


HUGE = 4_000_000
PROMPTS = [
    {"prompt": {"length": HUGE}},
    {"prompt": {"length": 2, "layers": [99]}},
    {"prompt": {"length": HUGE, "mode": "query", "members": HUGE}},
    {"prompt": {"length": 2, "mode": "query", "front": HUGE}},
    {"verbalizer": {"kind": "learnable", "units": [0, 1], "rows": 10**12}},
    {"verbalizer": {"kind": "learnable", "units": [0, 1], "rows": HUGE, "members": HUGE}},
    {"verbalizer": {"kind": "frequency", "units": [0] * 50_000}, "allowed": [[0]] * 50_000},
]
ARCHITECTURES = [
    {"dim": 2**20},
    {"ffn": 2**24},
    {"n_symbols": 2**24},
    {"layers": 1000},
    {"max_positions": 2**24},
]


@pytest.fixture
def little_memory():
    """What this process may allocate: half a gigabyte more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + 2**29
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("changes", PROMPTS)
def test_a_prompt_gets_no_memory_for_what_it_only_claims(copied, little_memory, changes):
    path = copied / "results/ks/prompt.safetensors"
    craft(path, **changes)
    with pytest.raises(
        ArtefactError, match=r"prompt\.safetensors: (its metadata|expected|prompt.layers)"
    ):
        load_task_model(path, copied / "results/lm/tiny/model.safetensors")


@pytest.mark.parametrize("changes", ARCHITECTURES)
def test_a_unit_lm_gets_no_memory_for_what_it_only_claims(copied, little_memory, changes):
    path = copied / "results/lm/tiny/model.safetensors"
    own = read_tensor_metadata(path)["architecture"]
    craft(path, architecture=own | changes)
    with pytest.raises(ArtefactError, match=r"model\.safetensors: (expected|lm.max)"):
        load_lm(path)


def test_a_codebook_has_no_more_centroids_than_its_file(copied):
    """safetensors' own check; what the metadata say of the number is not used."""
    path = next(copied.glob("results/codebooks/*.safetensors"))
    content = path.read_bytes()
    craft(path, n_units=10**12)
    assert load_codebook(path).n_units < 10**6
    header, rest = content[8:].split(b'"shape":[', 1)
    path.write_bytes(content[:8] + header + b'"shape":[9' + rest)
    with pytest.raises(ArtefactError, match=path.name):
        load_codebook(path)


@pytest.mark.parametrize(
    "wrong", [{"seed": 1.5}, {"seed": True}, {"method": ""}, {"trainable_parameters": None}]
)
def test_what_a_score_takes_from_a_training_has_its_type(wrong):
    right = {"method": "prompt", "seed": 1, "trainable_parameters": 5}
    check_described(right)
    with pytest.raises(ValueError, match="expected"):
        check_described(right | wrong)
