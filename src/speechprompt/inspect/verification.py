"""Verification of a run: each file by the hash in it, and by the hashes that others have of it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechprompt.downloads.download import recorded_sum
from speechprompt.errors import ArtefactError, SpeechPromptError, some_of
from speechprompt.evaluation.scores import TRAINED, check_scored
from speechprompt.models.shipped import SHIPPED
from speechprompt.storage.files import check_intact, content_of, read_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.parquet import read_schema
from speechprompt.storage.tensors import read_tensor_header

__all__ = ["STATES", "Checked", "verify_run"]

STATES = ("ok", "damaged", "no hash")
READERS = {".json": read_json, ".parquet": read_schema, ".safetensors": read_tensor_header}
# Folders of programs, not of runs.
SKIPPED = {".git", ".snakemake", ".venv", "node_modules"}


@dataclass(frozen=True)
class Checked:
    """What is known of one file.

    Attributes:
        path: the file.
        state: one of :data:`STATES`.
        reason: what is wrong with a damaged file.
    """

    path: Path
    state: str
    reason: str = ""


def verify_run(folder: str | Path) -> Iterator[Checked]:
    """Check all safetensors, Parquet and JSON files below a folder, in the order of their names.

    A file is damaged if its content is not what was written, if it cannot be read, or if a file
    that it names by hash or size is missing or another one. Files of other programs and of earlier
    versions have no hash; only their heads are read. Downloads are compared with the sums beside
    them.

    Raises:
        ArtefactError: there is no such folder, or no such file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: expected the folder of a run, found none")
    paths = list(_artefacts(folder))
    if not paths:
        raise ArtefactError(f"{folder}: expected a run, found no {', '.join(READERS)} files")
    for path in paths:
        try:
            yield Checked(path, _state(path))
        except SpeechPromptError as error:
            yield Checked(path, "damaged", str(error).removeprefix(f"{path}: "))


def _state(path: Path) -> str:
    """Check a file; return its state.

    Raises:
        SpeechPromptError: it is damaged.
    """
    if (expected := recorded_sum(path)) is not None:
        _compare(path, path, expected)
        return "ok"
    state = "ok" if check_intact(path) else "no hash"
    with content_of(path):
        content = READERS[path.suffix](path)
        if path.suffix == ".json" and isinstance(content, Mapping):
            _check_named_files(path, content)
        if path.name in TRAINED.values():
            check_scored(path)
    return state


def _artefacts(folder: Path) -> Iterator[Path]:
    """Files to check; those behind links too, and links that lead nowhere."""
    seen = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, followlinks=True):
        # Links in resources/ lead to a user's own copies of corpora.
        is_own = "resources" not in Path(parent).relative_to(folder).parts
        inner = {name: os.path.join(parent, name) for name in sorted({*folders} - SKIPPED)}
        places = {
            os.path.realpath(at): name
            for name, at in inner.items()
            if is_own or not os.path.islink(at)
        }
        folders[:] = [name for place, name in places.items() if place not in seen]
        seen |= places.keys()
        for name in sorted(files):
            path = Path(parent, name)
            is_download = path.with_name(f"{name}.sha256").is_file()
            is_file = path.is_file() or (path.is_symlink() and not path.exists())
            if (path.suffix in READERS or is_download) and is_file:
                yield path


def _check_named_files(path: Path, value: Mapping[str, Any]) -> None:
    """Check the files that an index.json, a model.json or a corpus.json names."""
    named = [(part["name"], part["sha256"]) for part in value.get("parts", ())]
    if str(value.get("format", "")).startswith("speechprompt model"):
        encoder = value["encoder"] or {}
        found = (value["prompt"], value["unit_lm"], value["codebook"], encoder.get("weights"))
        named += [(file["path"], file["sha256"]) for file in found if file is not None]
    for name, expected in named:
        file = path.parent / name
        if not file.is_file() and expected in SHIPPED.values():
            continue  # the package has it
        if not file.is_file():
            raise ArtefactError(f"{path}: the file {name} that it names is missing")
        _compare(path, file, expected)
    for folder, sizes in value.get("sizes", {}).items():
        files = {name: path.parent / folder / name for name in sizes}
        lost = [n for n, f in files.items() if not f.is_file() or f.stat().st_size != sizes[n]]
        if lost:
            raise ArtefactError(
                f"{path}: {len(lost)} of {len(sizes)} files in {folder} are missing or have "
                f"another size ({some_of(lost, 3)})"
            )


def _compare(path: Path, file: Path, expected: str) -> None:
    if (found := sha256_file(file)) != expected:
        raise ArtefactError(f"{path}: {file.name} has sha256 {found}, expected {expected}")
