"""Utterances of one long recording that overlap across splits, so that test is heard in train."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechprompt.audio.places import Place
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import log

__all__ = ["judge_overlaps"]

# Utterances that follow each other may share a little, because times are rounded and padded. Of a
# short one they may share half.
SHARED_SECONDS = 0.25
# The channel of an utterance that has all of them.
ALL_CHANNELS = -1


class _Span(NamedTuple):
    """What an utterance has of its recording: seconds, and the channel."""

    start: float
    end: float
    channel: int


def judge_overlaps(
    rows_of_splits: Mapping[str, Sequence[Mapping[str, Any]]], root: Path, most: float
) -> None:
    """Report the utterances of a split that overlap with one of an earlier split in a recording.

    A whole recording overlaps with each of its parts, and what has all channels with what has one.
    Two channels of the same time do not overlap.

    Args:
        rows_of_splits: rows of a manifest by split, in the order of the splits.
        root: folder that their paths are relative to.
        most: largest share of a split that may do so, 0 to 1.

    Raises:
        CorpusError: more of a split do.
    """
    if not any("#" in row["path"] for rows in rows_of_splits.values() for row in rows):
        return  # no recording is listed twice
    earlier: dict[tuple[object, ...], list[_Span]] = defaultdict(list)
    for split, rows in rows_of_splits.items():
        own: dict[tuple[object, ...], list[_Span]] = defaultdict(list)
        for row in rows:
            place = Place.at(root / row["path"])
            end = place.start + row["n_samples"] / row["sample_rate"]
            channel = ALL_CHANNELS if place.channel is None else place.channel
            file = os.path.realpath(place.file)
            own[file, place.row].append(_Span(place.start, end, channel))
        found = 0
        for recording, spans in own.items():
            found += _count_heard(spans, earlier[recording])
            earlier[recording] += spans
        if found:
            message = (
                f"{root}: {found} of {len(rows)} utterances in {split} overlap with one of an "
                "earlier split in the same recording"
            )
            if found > most * len(rows):
                raise CorpusError(f"{message}, more than max_repeated = {most:g} allows")
            log(f"warning: {message}; a score of them says little about new recordings")


def _count_heard(spans: Sequence[_Span], earlier: Sequence[_Span]) -> int:
    """How many utterances share more than a little with an earlier one of their recording."""
    if not earlier:
        return 0
    starts, ends, channels = np.array(earlier).T
    count = 0
    for start, end, channel in spans:
        shared = np.minimum(ends, end) - np.maximum(starts, start)
        if channel != ALL_CHANNELS:
            shared = shared[(channels == channel) | (channels == ALL_CHANNELS)]
        count += bool(shared.max(initial=0.0) > min(SHARED_SECONDS, (end - start) / 2))
    return count
