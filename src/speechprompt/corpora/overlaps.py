"""Utterances of one long recording that overlap across splits, so that test is heard in train."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.audio.places import Place
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import log

__all__ = ["judge_overlaps"]

# Utterances that follow each other may share a little, because times are rounded and padded.
SHARED_SECONDS = 0.25


def judge_overlaps(
    rows_of_splits: Mapping[str, Sequence[Mapping[str, Any]]], root: Path, most: float
) -> None:
    """Report the utterances of a split that overlap with one of an earlier split in a recording.

    Args:
        rows_of_splits: rows of a manifest by split, in the order of the splits.
        root: folder that their paths are relative to.
        most: largest share of a split that may do so, 0 to 1.

    Raises:
        CorpusError: more of a split do.
    """
    earlier: dict[tuple[object, ...], list[np.ndarray]] = defaultdict(list)
    for split, rows in rows_of_splits.items():
        own: dict[tuple[object, ...], list[tuple[float, float]]] = defaultdict(list)
        for row in rows:
            if "#" in row["path"]:
                place = Place.at(root / row["path"])
                seconds = row["n_samples"] / row["sample_rate"]
                part = (os.path.realpath(place.file), place.channel, place.row)
                own[part].append((place.start, place.start + seconds))
        found = 0
        for recording, times in own.items():
            spans = np.array(times)
            if before := earlier[recording]:
                known = np.concatenate(before)
                shared = np.minimum(spans[:, 1, None], known[:, 1]) - np.maximum(
                    spans[:, 0, None], known[:, 0]
                )
                found += int((shared.max(axis=1) > SHARED_SECONDS).sum())
            earlier[recording].append(spans)
        if found:
            message = (
                f"{root}: {found} of {len(rows)} utterances in {split} overlap with one of an "
                "earlier split in the same recording"
            )
            if found > most * len(rows):
                raise CorpusError(f"{message}, more than max_repeated = {most:g} allows")
            log(f"warning: {message}; a score of them says little about new recordings")
