"""The Free Spoken Digit Dataset: ten English digits, 8 kHz, ``{digit}_{speaker}_{index}.wav``.

https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

import re
from pathlib import Path

from speechprompt.config.corpora import FsddCorpus
from speechprompt.corpora.manifest import Listing, Recording
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.errors import CorpusError

__all__ = ["list_recordings"]

RECORDINGS = SOURCES["fsdd"][0].folder
NAME = re.compile(r"(\d)_(.+)_(\d+)\.wav")
OFFICIAL_TEST_INDICES = range(5)


def list_recordings(corpus: FsddCorpus, root: Path, seed: int) -> Listing:
    """List the recordings in the root, or in ``recordings`` below it, with the label ``digit``.

    The order is that of digit, speaker and index. Without ``test_speaker`` the test split is the
    official one: recordings 0-4 of every digit and speaker.
    """
    folder = root / RECORDINGS if (root / RECORDINGS).is_dir() else root
    if not folder.is_dir():
        raise CorpusError(f"{root}: no such folder")
    found = []
    for path in folder.iterdir():
        if match := NAME.fullmatch(path.name):
            digit, speaker, index = match.groups()
            found.append((digit, speaker, int(index), path.relative_to(root).as_posix()))
    if not found:
        raise CorpusError(
            f"{folder}: expected recordings named {{digit}}_{{speaker}}_{{index}}.wav, found none"
        )
    speakers = sorted({speaker for _, speaker, _, _ in found})
    left_out = corpus.test_speaker
    if left_out is not None and left_out not in speakers:
        raise CorpusError(
            f"test_speaker: expected one of {', '.join(speakers)} (found in {root}), "
            f"found {left_out!r}"
        )
    recordings = []
    for digit, speaker, index, name in sorted(found):
        is_test = index in OFFICIAL_TEST_INDICES if left_out is None else speaker == left_out
        split = "test" if is_test else "train"
        recordings.append(Recording(name, split, {"digit": digit}, speaker))
    return Listing(recordings, ["digit"], corpus.valid_fraction)
