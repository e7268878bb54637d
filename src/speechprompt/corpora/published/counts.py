"""What the preparation of published corpora shares: spelling, completeness, published counts."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import log

__all__ = ["compare_counts", "require_files", "spell"]

# Letters that Unicode does not take apart into a base letter and a mark; and quotes.
SINGLE = str.maketrans({"Æ": "A", "Ð": "D", "Ø": "O", "Ł": "L", "‘": "'", "’": "'"})
DASHES = re.compile("[-–—/]")
UNSPOKEN = re.compile(r"[^A-Z'\s]")


def spell(text: str) -> str:
    """Upper-case words of A-Z and ``'``, single blanks between: SUPERB's characters.

    Accents and punctuation go, dashes part words, ``&`` is spoken.
    """
    text = DASHES.sub(" ", text.upper().translate(SINGLE)).replace("&", " AND ")
    return " ".join(UNSPOKEN.sub("", unicodedata.normalize("NFKD", text)).split())


def require_files(root: Path, recordings: Sequence[Recording]) -> None:
    """Stop at an incomplete copy.

    Raises:
        CorpusError: naming the first recording that is not there, and how many are missing.
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
    """Say where a split has another size than the published one."""
    found = Counter(item.split for item in recordings)
    for split in SPLITS:
        if found[split] != published[split]:
            log(
                f"{root}: {split} has {found[split]} recordings, as published it has "
                f"{published[split]}; results will not be comparable"
            )
