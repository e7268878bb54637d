"""Unit LM files: weights under fairseq's names, and what they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.lm.dictionary import Dictionary
from speechprompt.lm.fairseq import check_weights, load_weights, weights
from speechprompt.lm.model import LMConfig, UnitLM
from speechprompt.runtime.uninitialised import without_initial_values, without_weights
from speechprompt.storage.files import content_of, copy_file, sha256_artefact
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensors, write_tensors

__all__ = ["LoadedLM", "load_lm", "save_lm", "take_unit_lm"]


@dataclass(frozen=True)
class LoadedLM:
    """A frozen unit LM with its dictionary.

    Attributes:
        model: the LM.
        dictionary: maps units to its ids and back.
        sha256: hash of the file.
        codebook_sha256: hash of the codebook whose units it was trained on.
        metadata: all metadata of the file.
    """

    model: UnitLM
    dictionary: Dictionary
    sha256: str
    codebook_sha256: str
    metadata: dict[str, Any]


def save_lm(
    path: str | Path,
    model: UnitLM,
    dictionary: Dictionary,
    codebook_sha256: str,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a unit LM; ``metadata`` adds entries, such as the training shards' hashes."""
    own = {
        "format": "speechprompt unit LM 1",
        "architecture": model.config.to_dict(),
        "dictionary": dictionary.units,
        "codebook_sha256": codebook_sha256,
    }
    write_tensors(path, weights(model), {**(metadata or {}), **own})


def load_lm(
    path: str | Path,
    codebook_sha256: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> LoadedLM:
    """Read a unit LM, frozen.

    Args:
        path: a file that :func:`save_lm` wrote.
        codebook_sha256: hash of the codebook in use; None skips the comparison.
        dtype: number type of weights and activations.
        device: torch device.

    Raises:
        ArtefactError: the file is not a unit LM, lacks weights or has others, or belongs to another
            codebook.
    """
    tensors, metadata = read_tensors(path)
    with content_of(path):
        if metadata.get("format") != "speechprompt unit LM 1":
            raise ArtefactError(
                f"{path}: not a unit LM of this package (its metadata has no `format`)"
            )
        if codebook_sha256 is not None and metadata["codebook_sha256"] != codebook_sha256:
            raise ArtefactError(
                f"{path}: trained on units of codebook {metadata['codebook_sha256']}, but the "
                f"codebook in use is {codebook_sha256}; train the unit LM again or use its own "
                "codebook"
            )
        try:
            config = LMConfig(**metadata["architecture"])
        except ConfigError as error:
            raise ArtefactError(f"{path}: {error}") from error
        with without_weights():  # the metadata may claim any size
            check_weights(UnitLM(config), tensors, str(path))
        with without_initial_values():
            model = UnitLM(config)
        load_weights(model, tensors, str(path))
        model.to(device).freeze(dtype)
        dictionary = Dictionary(metadata["dictionary"])
        return LoadedLM(model, dictionary, sha256_file(path), metadata["codebook_sha256"], metadata)


def take_unit_lm(unit_lm: str | Path, codebook: str | Path, out: str | Path) -> None:
    """Check that a unit LM reads the units of a codebook, and copy it.

    Args:
        unit_lm: unit LM that this package wrote.
        codebook: codebook whose units it reads.
        out: the same, to write.

    Raises:
        ArtefactError: no unit LM, or one of another codebook.
    """
    load_lm(unit_lm, sha256_artefact(codebook))
    copy_file(unit_lm, out)
