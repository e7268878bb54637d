import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save

from speechprompt.storage.tensors import (
    TENSOR_TYPES,
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
