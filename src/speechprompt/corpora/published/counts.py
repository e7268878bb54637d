"""Shared by the published corpora: spelling, and comparison with the published recordings."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import log

__all__ = ["compare_counts", "require_files", "spell"]

# Letters that Unicode does not decompose into a base letter and a mark; and quotes.
SINGLE = str.maketrans({"Æ": "A", "Ð": "D", "Ø": "O", "Ł": "L", "‘": "'", "’": "'"})
DASHES = re.compile("[-–—/]")
UNSPOKEN = re.compile(r"[^A-Z'\s]")


def spell(text: str) -> str:
    """Spell a text with SUPERB's characters: upper-case words of A-Z and ``'``, single blanks.

    Accents and punctuation are removed, dashes separate words, and ``&`` becomes ``AND``.
    """
    text = DASHES.sub(" ", text.upper().translate(SINGLE)).replace("&", " AND ")
    return " ".join(UNSPOKEN.sub("", unicodedata.normalize("NFKD", text)).split())


def require_files(root: Path, recordings: Sequence[Recording]) -> None:
    """Check that all recordings exist.

    Raises:
        CorpusError: recordings are missing; the message names the first and counts them.
    """
    missing = [item.path for item in recordings if not (root / item.path).is_file()]
    if missing:
        raise CorpusError(
            f"{root / missing[0]}: expected this recording, which the corpus lists, found no "
            f"file; {len(missing)} of {len(recordings)} are missing: complete the copy, or remove "
            "its folder to download it again"
        )


def compare_counts(
    root: Path, recordings: Sequence[Recording], published: Mapping[str, int]
) -> None:
    """Log which splits have another size than the published one, where that is known."""
    found = Counter(item.split for item in recordings)
    for split in SPLITS:
        if found[split] != published.get(split, found[split]):
            log(
                f"{root}: {split} has {found[split]} recordings, as published it has "
                f"{published[split]}; results will not be comparable"
            )
