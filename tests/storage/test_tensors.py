import json
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save

from speechprompt.errors import ArtefactError
from speechprompt.storage.tensors import (
    TENSOR_TYPES,
    check_shapes,
    read_tensor_metadata,
    read_tensors,
    write_tensors,
)

SAVE = """
import sys, torch
from speechprompt.storage.tensors import write_tensors
write_tensors(sys.argv[1], {n: torch.arange(3) for n in "cab"}, {n: [n] for n in "zyxwvu"})
"""


def test_equal_tensors_give_equal_bytes_in_every_process(tmp_path):
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path in paths:
        subprocess.run([sys.executable, "-c", SAVE, str(path)], check=True)
    assert len({path.read_bytes() for path in paths}) == 1


def test_tensors_and_metadata_come_back(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"w": torch.randn(3, 5), "half": torch.ones(1, dtype=torch.bfloat16)}
    metadata = {"layer": 6, "name": "é", "nothing": None, "list": [1, "b"]}
    write_tensors(path, tensors, metadata)
    found, described = read_tensors(path)
    assert described == metadata == read_tensor_metadata(path)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_tensors_are_laid_out_as_the_library_does(tmp_path):
    tensors = {
        f"{i % 3}.{kind}": torch.arange(6).reshape(2, 3).to(getattr(torch, kind)).T[:, : i % 3]
        for i, kind in enumerate(TENSOR_TYPES)
    }
    tensors["number"] = torch.tensor(1.5)
    write_tensors(tmp_path / "a.safetensors", tensors, {"layer": 6})
    ours = (tmp_path / "a.safetensors").read_bytes()
    library = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"layer": "6"})
    (ours_header, ours_data), (header, data) = map(split, (ours, library))
    assert ours_header["__metadata__"].pop("seal")
    assert ours_header == header
    assert ours_data == data
    arrays = {n: tensor.numpy() for n, tensor in tensors.items() if tensor.dtype != torch.bfloat16}
    write_tensors(tmp_path / "b.safetensors", arrays, {})
    found, _ = read_tensors(tmp_path / "b.safetensors")
    assert found.keys() == arrays.keys()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in found.items())
    with pytest.raises(ValueError, match="tensors of complex64 cannot be written"):
        write_tensors(tmp_path / "a.safetensors", {"z": torch.zeros(1, dtype=torch.cfloat)}, {})


def split(content):
    """Header and data of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def test_some_tensors_can_be_read_alone(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {name: torch.full((2,), i) for i, name in enumerate("abc")}, {"of": "it"})
    found, metadata = read_tensors(path, names=["c", "a"])
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"c": [2, 2], "a": [0, 0]}
    assert metadata == {"of": "it"}
    with pytest.raises(ArtefactError, match=r"a\.safetensors.*absent"):
        read_tensors(path, names=["absent"])


def test_metadata_of_other_programs_stay_text(tmp_path):
    (tmp_path / "a").write_bytes(save({"x": torch.zeros(1)}, {"format": "pt", "n": "1"}))
    assert read_tensor_metadata(tmp_path / "a") == {"format": "pt", "n": 1}
    assert read_tensors(tmp_path / "a")[1] == {"format": "pt", "n": 1}


def test_tensors_that_do_not_fit_are_named():
    expected = {"a": (2, 3), "b": (4,), "c": ()}
    check_shapes("file", "a model", expected=expected, found=dict(reversed(expected.items())))
    message = (
        "file: expected the 11 parameters of a model, found 21; missing: b; surplus: d, e; "
        "of another shape: a (3, 2) instead of (2, 3), c (1,) instead of ()"
    )
    found = {"a": (3, 2), "c": (1,), "e": (4,), "d": (10,)}
    with pytest.raises(ArtefactError, match=f"^{re.escape(message)}$"):
        check_shapes("file", "a model", expected=expected, found=found)
    many = {f"t{i}": (1,) for i in range(10)}
    with pytest.raises(ArtefactError, match=r"surplus: t0, t1, t2, t3, t4, t5, t6, t7 and 2 more$"):
        check_shapes("file", "a model", expected={}, found=many)
