"""What is read of a pickle, and what is said of a damaged one."""

import bz2
import gzip
import io
import lzma
import pickle
import random
import sys
import zipfile
import zlib
from argparse import Namespace
from collections import OrderedDict, defaultdict
from enum import Enum

import joblib
import numpy as np
import pytest
import torch
from pickled import DUMPS, FORMATS, dump_plain, replace_record, save_zip
from publishing import make_dictionary, needs_fairseq

from speechprompt.errors import AssetError
from speechprompt.models.importing.fairseq_settings import plain
from speechprompt.models.importing.pickles import identify, load_checkpoint, load_joblib
from speechprompt.storage.hashes import sha256_file


def tensors():
    base = torch.randn(4, 6)
    return OrderedDict(
        weight=base,
        tied=base,
        view=base[1:, ::2].T,
        number=torch.tensor(1.5),
        empty=torch.empty(0, 3),
        half=torch.randn(3).half(),
        brain=torch.randn(3).bfloat16(),
        double=torch.randn(2, dtype=torch.float64),
        truth=torch.tensor([True, False]),
        **{f"int{n}": torch.arange(3).to(getattr(torch, f"int{n}")) for n in (8, 16, 32, 64)},
        byte=torch.arange(3, dtype=torch.uint8),
        parameter=torch.nn.Parameter(torch.randn(2)),
    )


@pytest.mark.parametrize("save", FORMATS.values(), ids=FORMATS)
def test_tensors_come_back(tmp_path, save):
    expected = tensors()
    expected._metadata = {"": {"version": 1}}  # as a module's state dict has it
    save({"model": expected, "none": None}, tmp_path / "a.pt")
    found = load_checkpoint(tmp_path / "a.pt")["model"]
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert torch.equal(found[name], tensor), name
    found["weight"][0] = 7.0  # memory of one's own: neither the file nor other tensors' is changed
    again = load_checkpoint(tmp_path / "a.pt")["model"]
    assert torch.equal(again["weight"], expected["weight"])


class Mode(Enum):
    GROUP = "default"


class Plain:
    """Stands for a class of a library that is there when written, and not when read."""

    def __init__(self, **state):
        self.__dict__.update(state)


@pytest.mark.parametrize("save", FORMATS.values(), ids=FORMATS)
def test_objects_become_bags_of_their_attributes(tmp_path, save, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.made_up", sys.modules[__name__])
    for kind in (Mode, Plain):
        monkeypatch.setattr(kind, "__module__", "sklearn.made_up")
    state = {
        "args": Namespace(mode=Mode.GROUP, heads=12, rate=0.1, none=None, plain=Plain(a=[1])),
        "counts": defaultdict(list, a=[1]),
        "numpy": (np.float64(2.5), np.arange(6).reshape(2, 3), np.array(["a", "b"]), np.int32(3)),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "bytes": b"abc",
        "set": {1, 2},
        "type": (type(None), int, torch.float16, torch.Size([2])),
    }
    save(state, tmp_path / "a.pt")
    monkeypatch.delitem(sys.modules, "sklearn.made_up")
    found = load_checkpoint(tmp_path / "a.pt")
    args = {"mode": "default", "heads": 12, "rate": 0.1, "none": None, "plain": {"a": [1]}}
    assert plain(found["args"], "file") == args
    kind = type(vars(found["args"])["plain"])
    assert (kind.__module__, kind.__name__) == ("sklearn.made_up", "Plain")
    assert found["numpy"][0] == 2.5
    assert np.asarray(found["numpy"][1]).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.asarray(found["numpy"][2]).tolist() == ["a", "b"]
    assert found["numpy"][3] == 3
    assert np.asarray(found["fortran"]).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["bytes"] == b"abc"
    assert found["set"] == {1, 2}
    assert found["type"][3] == (2,)


def test_neither_fairseq_nor_omegaconf_is_imported(tmp_path, repository):
    """In a process of its own, where importing either would be seen."""
    needs_fairseq()
    import subprocess

    from omegaconf import OmegaConf

    state = {"cfg": OmegaConf.create({"a": [1, "${b}"], "b": None}), "d": make_dictionary(3)}
    torch.save(state, tmp_path / "a.pt")
    program = """
import sys
from speechprompt.models.importing.pickles import load_checkpoint
from speechprompt.models.importing.fairseq_settings import plain
found = load_checkpoint(sys.argv[1])
assert plain(found["cfg"], "file") == {"a": [1, "${b}"], "b": None}, plain(found["cfg"], "file")
assert vars(found["d"])["symbols"][4:] == ["0", "1", "2"]
assert type(found["d"]).__name__ == "Dictionary"
assert not {"fairseq", "omegaconf", "hydra", "sklearn"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.pt")], check=True)


@pytest.mark.parametrize("dump", DUMPS.values(), ids=DUMPS)
@pytest.mark.parametrize("spelling", ["new", "old"])
def test_arrays_of_joblib_come_back(tmp_path, dump, spelling):
    rng = np.random.default_rng(0)
    expected = {
        "c": rng.random((3, 5)),
        "fortran": np.asfortranarray(rng.random((3, 5), dtype=np.float32)),
        "empty": np.empty((0, 2)),
        "number": np.array(3),
        "ints": np.arange(300),
        "big": rng.random(4).astype(">f8"),
    }
    path = tmp_path / "a.bin"
    dump({**expected, "scalar": np.float64(0.5), "text": "x"}, path)
    if spelling == "old":
        path.write_bytes(spell_old(expected | {"scalar": np.float64(0.5), "text": "x"}))
    found = load_joblib(path)
    assert found["scalar"] == 0.5
    assert found["text"] == "x"
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array)


def spell_old(value):
    """As written with NumPy 1 and joblib before 1.2: text names, no alignment."""
    wrapper = "_create_array_wrapper"

    class Old(joblib.numpy_pickle.NumpyPickler):
        def _create_array_wrapper(self, array):
            made = getattr(super(), wrapper)(array)
            del made.numpy_array_alignment_bytes
            return made

    stream = io.BytesIO()
    Old(stream, protocol=2).dump(value)
    content = stream.getvalue()
    assert b"numpy._core" in content
    return content.replace(b"numpy._core", b"numpy.core")


@pytest.mark.parametrize("save", FORMATS.values(), ids=FORMATS)
def test_damaged_checkpoints(tmp_path, save):
    path = tmp_path / "a.pt"
    save({"model": tensors(), "args": Namespace(a=1)}, path)
    whole = path.read_bytes()
    for length in (0, 1, 50, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(AssetError, match=r"a\.pt: "):
            load_checkpoint(path)
    for content in (b"not a checkpoint", pickle.dumps({"a": 1}), whole[:200] * 3):
        path.write_bytes(content)
        with pytest.raises(AssetError, match=r"a\.pt: "):
            load_checkpoint(path)


@pytest.mark.parametrize("load", [load_checkpoint, load_joblib])
def test_random_changes_raise_nothing_else(tmp_path, load):
    """Whatever the bytes, there is a result or an error that names the file."""
    path = tmp_path / "a"
    generator = random.Random(0)
    makers = FORMATS.values() if load is load_checkpoint else (DUMPS["plain"],)
    for make in makers:
        make({"a": np.arange(9.0), "t": [1, "x"], "args": Namespace(a=np.float64(1))}, path)
        whole = bytearray(path.read_bytes())
        for _ in range(150):
            changed = whole.copy()
            for _ in range(generator.randint(1, 4)):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            path.write_bytes(changed)
            try:
                load(path)
            except AssetError as error:
                assert str(path) in str(error)  # noqa: PT017


def test_a_changed_number_in_a_zip_is_noticed(tmp_path):
    path = tmp_path / "a.pt"
    save_zip({"w": torch.full((100,), 3.0)}, path)
    whole = path.read_bytes()
    number = np.float32(3.0).tobytes()
    path.write_bytes(whole.replace(number * 100, number * 99 + np.float32(4.0).tobytes()))
    assert path.read_bytes() != whole
    with pytest.raises(AssetError, match="its checksum is wrong"):
        load_checkpoint(path)


def test_tensors_outside_of_their_storage(tmp_path):
    path = tmp_path / "a.pt"
    save_zip({"w": torch.arange(10.0)}, path)
    with zipfile.ZipFile(path) as archive:
        (name,) = (entry for entry in archive.namelist() if entry.endswith("data.pkl"))
        content = archive.read(name)
    ten = b"K\n\x85"  # (10,) as the size
    assert content.count(ten) == 1
    replace_record(path, "data.pkl", content.replace(ten, b"K\xff\x85"))
    with pytest.raises(AssetError, match="out of bounds"):
        load_checkpoint(path)


def test_modules_and_torchscript_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    for save in FORMATS.values():
        save(torch.nn.Linear(2, 2), path)
        with pytest.raises(AssetError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
            load_checkpoint(path)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    with pytest.raises(AssetError, match=r"expected a checkpoint of torch\.save, found an ar"):
        load_checkpoint(path)


@pytest.mark.parametrize("dump", DUMPS.values(), ids=DUMPS)
def test_damaged_joblib_files(tmp_path, dump):
    path = tmp_path / "km.bin"
    dump({"a": np.arange(1000.0), "b": "x"}, path)
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(AssetError, match=r"km\.bin: cannot be read as a file of joblib\.dump"):
            load_joblib(path)


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_bomb_is_stopped(tmp_path, monkeypatch, compress):
    monkeypatch.setattr("speechprompt.models.importing.pickles.MAX_UNPACKED", 10_000)
    path = tmp_path / "km.bin"
    path.write_bytes(compress(bytes(20_000)))
    with pytest.raises(AssetError, match="hold over 10000 bytes"):
        load_joblib(path)


def test_another_sum_is_refused(tmp_path):
    path = tmp_path / "a"
    dump_plain({"x": 1}, path)
    with pytest.raises(AssetError, match=f"a: expected the SHA-256 {'0' * 64}, found"):
        identify(path, "0" * 64)
    assert identify(path, sha256_file(path).upper()) == {"file": "a", "sha256": sha256_file(path)}
    for read in (identify, load_checkpoint, load_joblib):
        with pytest.raises(AssetError, match="none: cannot be read"):
            read(tmp_path / "none")
