"""What a pre-training reads: train splits in units of one codebook, less a held-out share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.storage.files import read_json
from speechprompt.storage.hashes import share_of

__all__ = ["hold_out", "read_train_indexes"]


def read_train_indexes(
    paths: Iterable[str | Path],
) -> tuple[dict[str | Path, dict[str, Any]], dict[str, Any]]:
    """Read the index.json of train splits of one codebook.

    Returns:
        Content of each index by its path; and what goes into the metadata of the trained model:
        ``codebook``, ``codebook_sha256``, ``n_units`` and all ``shards`` with their hashes.

    Raises:
        ArtefactError: a split other than train, or of another codebook than the first.
    """
    indexes: dict[str | Path, dict[str, Any]] = {}
    about: dict[str, Any] = {"shards": []}
    for path in paths:
        index = indexes[path] = read_json(path)
        if index["split"] != "train":
            raise ArtefactError(
                f"{path}: pre-training reads train splits, found {index['split']!r}"
            )
        for key in ("codebook", "codebook_sha256", "n_units"):
            if about.setdefault(key, index[key]) != index[key]:
                raise ArtefactError(
                    f"{path}: {key} is {index[key]!r}, expected {about[key]!r} as in "
                    f"{next(iter(indexes))}; all corpora of a pre-training share one codebook"
                )
        about["shards"] += [{"corpus": index["corpus"], **part} for part in index["parts"]]
    return indexes, about


def hold_out(names: Sequence[str], share: float) -> tuple[np.ndarray, np.ndarray]:
    """Divide utterances into those to learn from and those held out, by a hash of their names.

    Returns:
        Two arrays of indices into ``names``.

    Raises:
        CorpusError: one of them would be empty.
    """
    held_out = np.array([share_of(name) < share for name in names], bool)
    train, valid = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(train) or not len(valid):
        raise CorpusError(
            f"pre-training: {len(names)} train utterances leave {len(train)} to learn from and "
            f"{len(valid)} held out (valid_share {share}); more utterances are needed"
        )
    return train, valid
