"""No pickle runs anything, unless it is trusted; and nothing else in the package unpickles."""

import pickle
import re
from argparse import Namespace
from collections import OrderedDict

import numpy as np
import pytest
import torch
from pickled import DUMPS, FORMATS, dump_plain, replace_record, save_legacy, save_zip
from publishing import Bomb, check_that_it_works

from speechprompt.errors import AssetError
from speechprompt.models.importing.pickles import load_checkpoint, load_joblib


@pytest.fixture
def bomb(tmp_path):
    """A bomb that works; at the end it must not have gone off."""
    bomb = Bomb(tmp_path / "went-off")
    check_that_it_works(bomb)
    yield bomb
    assert not bomb.path.exists()


# Of a bomb and of what is stored outside of the pickle, a tensor or an array.
PLACES = {
    "alone": lambda bomb, _: bomb,
    "list": lambda bomb, _: [1, [bomb]],
    "key": lambda bomb, numbers: {"model": OrderedDict(a=numbers, b=bomb)},
    "namespace": lambda bomb, _: {"args": Namespace(a=bomb), "model": {}},
    "late": lambda bomb, numbers: [numbers, np.float64(3), bomb],
    "object array": lambda bomb, _: {"a": np.array([bomb], dtype=object)},
}


@pytest.mark.parametrize("save", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("place", PLACES)
def test_no_checkpoint_runs_anything(tmp_path, bomb, place, save):
    path = tmp_path / "a.pt"
    save(PLACES[place](bomb, torch.ones(3)), path)
    with pytest.raises(AssetError, match=r"a\.pt: refused.*(posix|nt)\.system.*--trust \(trust: "):
        load_checkpoint(path)


@pytest.mark.parametrize("dump", DUMPS.values(), ids=DUMPS)
@pytest.mark.parametrize("place", PLACES)
def test_no_joblib_file_runs_anything(tmp_path, bomb, place, dump):
    path = tmp_path / "a.bin"
    dump(PLACES[place](bomb, np.ones(3)), path)
    # An array of objects is a pickle within: not even looked at.
    expected = "type 'O8'" if place == "object array" else r"refused.*(posix|nt)\.system"
    with pytest.raises(AssetError, match=rf"a\.bin: .*{expected}"):
        load_joblib(path)


class LegacyUnpickler(pickle.Unpickler):
    """Reads what `torch.save` wrote, with a storage of two numbers in place of each."""

    def persistent_load(self, saved):
        return torch.FloatStorage(2)


@pytest.mark.parametrize("number", range(5))
def test_no_pickle_of_the_legacy_format_runs_anything(tmp_path, bomb, number):
    """The format is five pickles in a row: magic, version, system, content, keys."""
    path = tmp_path / "a.pt"
    save_legacy({"a": torch.ones(2)}, path)
    with path.open("rb") as stream:
        parts = []
        for _ in range(5):
            start = stream.tell()
            LegacyUnpickler(stream).load()
            parts.append(path.read_bytes()[start : stream.tell()])
        rest = stream.read()
    parts[number] = pickle.dumps(bomb, protocol=2)
    path.write_bytes(b"".join(parts) + rest)
    with pytest.raises(AssetError, match=r"refused.*system"):
        load_checkpoint(path)


def raw(module, name, argument):
    """A pickle that calls one global with one text."""
    return f"c{module}\n{name}\n(S'{argument}'\ntR.".encode()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("builtins", "__import__"),
        ("builtins", "open"),
        ("subprocess", "Popen"),
        ("importlib", "import_module"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch._utils", "os.system"),
        ("torch.serialization", "load"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.testing._private.utils", "runstring"),
        ("joblib", "load"),
        ("joblib.numpy_pickle", "load"),
        ("pickle", "loads"),
        ("copyreg", "_reconstructor"),
        ("speechprompt.storage.files", "write_text"),
        ("collections", "OrderedDict.__init__"),
        ("numpy_", "x"),
        ("sklearnx", "x"),
    ],
)
def test_other_names_are_refused(tmp_path, module, name):
    path = tmp_path / "km.bin"
    path.write_bytes(raw(module, name, "1"))
    called = module.replace("__builtin__", "builtins").replace("numpy.core", "numpy._core")
    with pytest.raises(AssetError, match=re.escape(f"asks for {called}.{name}:")):
        load_joblib(path)
    save_zip({}, tmp_path / "a.pt")
    replace_record(tmp_path / "a.pt", "data.pkl", raw(module, name, "1"))
    with pytest.raises(AssetError, match=re.escape(f"asks for {called}.{name}:")):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("fairseq.utils", "import_user_module"),
        ("sklearn.utils", "x"),
        ("builtins", "getattr"),
        ("omegaconf", "OmegaConf.load"),
        ("numpy.random", "os.system"),
    ],
)
def test_names_that_become_stand_ins_are_not_called(tmp_path, module, name):
    path = tmp_path / "km.bin"
    path.write_bytes(raw(module, name, "argument"))
    found = load_joblib(path)
    assert found.arguments == ("argument",)
    assert (type(found).__module__, type(found).__name__) == (module, name)


def test_a_pickle_cannot_change_the_reader(tmp_path):
    """State set on what is named, such as a class, stays within its own reading."""
    path = tmp_path / "km.bin"
    spoil = b"(N(dS'append'\nI1\nstb."
    for name in (b"cfairseq\nX\n", b"cbuiltins\nset\n", b"ctorch._utils\n_rebuild_tensor_v2\n"):
        path.write_bytes(name + spoil)
        with pytest.raises(AssetError):
            load_joblib(path)
        path.write_bytes(b"cfairseq\nX\n(tR.")
        assert callable(load_joblib(path).append)


@pytest.mark.parametrize(("load", "dump"), [(load_checkpoint, save_zip), (load_joblib, dump_plain)])
def test_trust_runs_what_is_in_it(tmp_path, load, dump):
    bomb = Bomb(tmp_path / "went-off")
    dump({"x": bomb, "set": complex(1, 2)}, tmp_path / "a")
    assert load(tmp_path / "a", trust=True)["set"] == 1 + 2j
    assert bomb.path.exists()


UNPICKLING = re.compile(
    r"\bimport\s+(c?pickle|_pickle|dill|cloudpickle|marshal|shelve)\b|\bfrom\s+(pickle|joblib)\b"
    r"|pickle\.loads?\b|\bUnpickler\b|weights_only\s*=\s*False|torch\.(jit\.|hub\.)?load\("
    r"|joblib\.load|allow_pickle|read_pickle"
)


def test_nothing_else_unpickles(repository):
    places = ("src", "rules", "workflow")
    files = [
        path
        for place in places
        for path in (repository / place).rglob("*")
        if path.is_file() and path.suffix in (".py", ".smk", "") and "egg-info" not in str(path)
    ]
    assert len(files) > 90
    found = [
        str(path.relative_to(repository))
        for path in files
        if UNPICKLING.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["src/speechprompt/models/importing/pickles.py"]


FAIRSEQ = re.compile(r"^\s*(import|from)\s+fairseq\b|import_module\(.fairseq", re.MULTILINE)


def test_nothing_imports_fairseq_by_itself(repository):
    files = [path for place in ("src", "tests", "benchmarks") for path in repository.glob(place)]
    found = [
        str(path)
        for folder in files
        for path in folder.rglob("*.py")
        if FAIRSEQ.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
