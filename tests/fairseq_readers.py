"""Whether fairseq is there, and its feature readers, which are read from their files without it."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = "examples/textless_nlp/gslm/speech2unit/pretrained"


def fairseq_installed():
    """Whether fairseq and the libraries that its checkpoints need are installed."""
    return all(map(importlib.util.find_spec, ("fairseq", "omegaconf", "hydra")))


def published_reader(name):
    """A module of GSLM's feature readers; the test skips where fairseq does not bring it."""
    found = importlib.util.find_spec("fairseq")
    path = Path(found.submodule_search_locations[0], FOLDER, f"{name}.py") if found else None
    if path is None or not path.is_file():
        pytest.skip(f"needs {name}.py of fairseq's examples")
    spec = importlib.util.spec_from_file_location(f"published_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
