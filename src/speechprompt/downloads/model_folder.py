"""A model's folder in the layout of ``transformers``, which is that of the Hugging Face hub.

``config.json`` describes the model. Its weights are in ``model.safetensors`` or, in the older form,
in ``pytorch_model.bin``; large ones are in several files, which an index lists.
``preprocessor_config.json`` says how recordings become a model's input.
"""

import re
from pathlib import Path
from typing import Any

from speechprompt.errors import ArtefactError, AssetError
from speechprompt.storage.files import read_json

__all__ = [
    "CONFIG",
    "INDEX",
    "ORIGIN",
    "PREPROCESSOR",
    "REPOSITORY",
    "REVISION",
    "WEIGHTS",
    "check_repository",
    "check_revision",
    "files_of_weights",
    "folder_files",
    "folder_of",
    "is_folder",
    "read_object",
]

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
# The name of a model on the hub, and a commit of it.
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
REVISION = re.compile(r"[0-9a-f]{40}")
# In the folder of a fetched model: where it is from.
ORIGIN = "origin.json"
# Files of weights in the order in which transformers looks for them; an index lists several.
INDEX = ".index.json"
WEIGHTS = tuple(
    name + index for name in ("model.safetensors", "pytorch_model.bin") for index in ("", INDEX)
)


def check_repository(name: str, example: str) -> None:
    """Raise a ValueError where this is no name on the hub."""
    if not REPOSITORY.fullmatch(name):
        raise ValueError(f"repository: expected a name such as {example}, found {name!r}")


def check_revision(commit: str) -> None:
    """Raise a ValueError where this is no commit."""
    if not REVISION.fullmatch(commit):
        raise ValueError(
            f"revision: expected a commit (40 hexadecimal digits), found {commit!r}; what a branch "
            "or tag names may change"
        )


def is_folder(checkpoint: str | Path) -> bool:
    """Whether a checkpoint is such a folder, given as such or by its config.json."""
    return Path(checkpoint).is_dir() or Path(checkpoint).name == CONFIG


def folder_of(checkpoint: str | Path) -> Path:
    """The folder that is given as such or by its config.json."""
    path = Path(checkpoint)
    return path.parent if path.name == CONFIG else path


def folder_files(folder: str | Path) -> list[Path]:
    """The files of a folder that are imported: config.json first, then weights in order.

    Raises:
        AssetError: one that is needed is missing.
        ArtefactError: the index of the weights is damaged.
    """
    folder = Path(folder)
    found = [folder / name for name in (CONFIG, PREPROCESSOR) if (folder / name).is_file()]
    if folder / CONFIG not in found:
        raise AssetError(f"{folder}: expected a model of transformers, found no {CONFIG} in it")
    name = next((name for name in WEIGHTS if (folder / name).is_file()), None)
    if name is None:
        raise AssetError(f"{folder}: expected weights ({', '.join(WEIGHTS)}), found none of them")
    found.append(folder / name)
    if name.endswith(INDEX):
        found += [folder / part for part in sorted(set(files_of_weights(folder / name).values()))]
    return found


def files_of_weights(index: Path) -> dict[str, str]:
    """The file of every weight, from an index.

    Raises:
        ArtefactError: the index names no files, or files outside of the folder.
    """
    listed = read_object(index).get("weight_map")
    endings = (".safetensors", ".bin")
    if not isinstance(listed, dict) or not all(
        isinstance(file, str) and Path(file).name == file and file.endswith(endings)
        for file in listed.values()
    ):
        raise ArtefactError(f"{index}: expected a weight_map with a file of this folder per weight")
    return listed


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ArtefactError: it is damaged, or holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ArtefactError(f"{path}: expected an object, found {str(value)[:100]}")
    return value
