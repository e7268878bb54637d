"""Any changed checkpoint or joblib file: none runs, hangs or grows."""

import io
import os
import pickle
import struct
import sys
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from properties import edited, examples, soon
from speechprompt.errors import ArtefactError, AssetError
from speechprompt.models.importing.cpc import import_cpc
from speechprompt.models.importing.hubert import import_hubert
from speechprompt.models.importing.pickles import load_checkpoint, load_joblib


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


SPECIMENS = Path(sys.prefix) / "went-off"


def state(bomb):
    weights = OrderedDict(a=torch.ones(2, 3), b=torch.arange(4.0).half())
    settings = Namespace(_name="hubert", encoder_layers=2, sizes=[1, (2, 3)], names={"x": {1}})
    return {"model": weights, "weights": weights, "args": settings, "config": settings, "z": bomb}


def written(value, legacy=False):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def pickle_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        return archive.read(name)


def with_pickle(content, replaced):
    """The archive of a checkpoint with another pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, replaced if name.endswith("data.pkl") else old.read(name))
    return buffer.getvalue()


def dumped(value):
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    return buffer.getvalue()


ZIP, LEGACY = written(state(Bomb(SPECIMENS))), written(state(None), legacy=True)
JOBLIB = dumped({"a": np.arange(12.0).reshape(3, 4), "b": [Namespace(x=1)], "z": Bomb(SPECIMENS)})
# Steps that take what is on the stack, and values to put there.
STEPS = [
    bytes([one]) for one in b"()]}.0122aeluostdbRQ\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"
]
VALUES = [
    *(b"K\x01", b"N", b"h\x00", b"q\x00", b"h\x01", b"q\x01", b"X\x01\0\0\0a", b"\x8a\x01\x05"),
    *(b"cos\nmkdir\n", b"cfairseq.a\nB\n", b"cbuiltins\nset\n", b"cbuiltins\ngetattr\n"),
    *(b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"cnumpy\ndtype\n"),
    *(b"X\x07\0\0\0storage", b"ctorch\nFloatStorage\n", b"G" + struct.pack(">d", 1e300)),
    b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n",
]
PROGRAMS = st.lists(st.one_of(st.sampled_from(STEPS), st.sampled_from(VALUES)), max_size=40).map(
    lambda steps: b"\x80\x02" + b"".join(steps) + b"."
)


@pytest.fixture
def harmless():
    """At the end, no pickle has run anything."""
    yield
    assert not SPECIMENS.exists()


@examples(200)
@given(
    content=st.one_of(
        edited(pickle_of(ZIP)).map(lambda changed: with_pickle(ZIP, changed)),
        PROGRAMS.map(lambda program: with_pickle(ZIP, program)),
        edited(ZIP),
        edited(LEGACY),
        PROGRAMS,
    )
)
def test_a_changed_checkpoint_never_runs_hangs_or_grows(tmp_path, harmless, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with soon(AssetError, path):
        load_checkpoint(path)
    for verb in (import_hubert, import_cpc):
        with soon((ArtefactError, AssetError), path):
            verb(path, tmp_path / "out.safetensors")
            pytest.fail("no model of this kind was written")


@examples(200)
@given(content=st.one_of(edited(JOBLIB), PROGRAMS))
def test_a_changed_joblib_file_never_runs_hangs_or_grows(tmp_path, harmless, content):
    path = tmp_path / "km.bin"
    path.write_bytes(content)
    with soon(AssetError, path):
        load_joblib(path)


def test_the_bomb_of_these_tests_works(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "went-off")))
    assert (tmp_path / "went-off").is_dir()
