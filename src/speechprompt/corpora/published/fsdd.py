"""The Free Spoken Digit Dataset: ten English digits, 8 kHz, ``{digit}_{speaker}_{index}.wav``.

https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

from __future__ import annotations

import re
from pathlib import Path

from speechprompt.config.corpora import FsddCorpus
from speechprompt.corpora.manifest import Listing, Recording
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.errors import CorpusError

__all__ = ["list_recordings"]

RECORDINGS = SOURCES["fsdd"][0].folder
NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>.+)_(?P<index>\d+)\.wav")
# The data set's own split: recordings 0-4 of every digit and speaker are for testing.
OFFICIAL_TEST_INDICES = range(5)


def list_recordings(corpus: FsddCorpus, root: Path, seed: int) -> Listing:
    """List the recordings with the label ``digit``.

    Without ``test_speaker`` the test split is the official one, recordings 0-4 of everybody.

    Args:
        corpus: settings: who is left out for test, and the share of train taken as valid.
        root: folder of the recordings, or the one above ``recordings``.
        seed: as for every corpus; nothing is drawn here.

    Raises:
        CorpusError: no recordings, or an unknown ``test_speaker``.
    """
    found = _find_recordings(root)
    test_speaker = corpus.test_speaker
    speakers = sorted({match["speaker"] for _, match in found})
    if test_speaker is not None and test_speaker not in speakers:
        raise CorpusError(
            f"test_speaker: expected one of {', '.join(speakers)} (found in {root}), "
            f"found {test_speaker!r}"
        )
    recordings = [
        Recording(
            path=path,
            split="test" if _is_test(match, test_speaker) else "train",
            labels={"digit": match["digit"]},
            speaker=match["speaker"],
        )
        for path, match in found
    ]
    return Listing(recordings, ["digit"], corpus.valid_fraction)


def _find_recordings(root: Path) -> list[tuple[str, re.Match[str]]]:
    """Paths relative to the root and what their names say, in order of digit, speaker, index."""
    folder = root / RECORDINGS if (root / RECORDINGS).is_dir() else root
    if not folder.is_dir():
        raise CorpusError(f"{root}: no such folder")
    found = [
        (path.relative_to(root).as_posix(), match)
        for path in folder.iterdir()
        if (match := NAME.fullmatch(path.name))
    ]
    if not found:
        raise CorpusError(
            f"{folder}: expected recordings named {{digit}}_{{speaker}}_{{index}}.wav, found none"
        )
    return sorted(found, key=lambda item: (item[1]["digit"], item[1]["speaker"], _index(item[1])))


def _is_test(match: re.Match[str], test_speaker: str | None) -> bool:
    if test_speaker is None:
        return _index(match) in OFFICIAL_TEST_INDICES
    return match["speaker"] == test_speaker


def _index(match: re.Match[str]) -> int:
    return int(match["index"])
