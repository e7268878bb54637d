"""The Free Spoken Digit Dataset: ten English digits, 8 kHz, ``{digit}_{speaker}_{index}.wav``.

https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

from __future__ import annotations

import re
from pathlib import Path

from speechprompt.corpora.manifest import Recording, write_manifests
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.errors import CorpusError

__all__ = ["prepare_fsdd"]

RECORDINGS = SOURCES["fsdd"][0].folder
NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>.+)_(?P<index>\d+)\.wav")
# The data set's own split: recordings 0-4 of every digit and speaker are for testing.
OFFICIAL_TEST_INDICES = range(5)


def prepare_fsdd(
    root: str | Path,
    out_dir: str | Path,
    *,
    seed: int,
    test_speaker: str | None = None,
    valid_fraction: float = 0.1,
    max_rejected: float = 0.01,
    threads: int = 1,
) -> dict[str, int]:
    """Turn the recordings into manifests with the label ``digit``.

    Args:
        root: Folder of the recordings, or the one above ``recordings``.
        out_dir: Folder of the manifests.
        seed: Seed of the share taken as valid.
        test_speaker: Speaker whose recordings, all of them, are the test split; None takes the
            official one, recordings 0-4 of everybody.
        valid_fraction: Share of train taken as valid.
        max_rejected: Largest share of unusable recordings that is passed over.
        threads: Recordings decoded at a time.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: no recordings, an unknown ``test_speaker``, or as for ``write_manifests``.
    """
    root = Path(root)
    found = _find_recordings(root)
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
    return write_manifests(
        recordings,
        root,
        out_dir,
        label_columns=["digit"],
        seed=seed,
        valid_fraction=valid_fraction,
        max_rejected=max_rejected,
        threads=threads,
    )


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
