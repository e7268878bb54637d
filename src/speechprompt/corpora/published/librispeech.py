"""LibriSpeech: read English, FLAC, one ``*.trans.txt`` per chapter (Panayotov et al., 2015).

https://www.openslr.org/12, CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from speechprompt.corpora.manifest import SPLITS, Recording, write_manifests
from speechprompt.corpora.published.counts import compare_counts, require_files, spell
from speechprompt.errors import CorpusError
from speechprompt.storage.files import text_lines

__all__ = ["prepare_librispeech"]

PUBLISHED = {
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
    "dev-clean": 2_703,
    "dev-other": 2_864,
    "test-clean": 2_620,
    "test-other": 2_939,
}


def prepare_librispeech(
    root: str | Path,
    out_dir: str | Path,
    *,
    subsets: Mapping[str, Sequence[str]],
    seed: int,
    max_rejected: float = 0.01,
    threads: int = 1,
) -> dict[str, int]:
    """Turn subsets into manifests with the column ``text``.

    Args:
        root: Folder that has the subsets' folders.
        out_dir: Folder of the manifests.
        subsets: Subsets of each split, such as ``{"train": ["train-clean-100"], …}``.
        seed: As for every preparation; the published splits draw nothing.
        max_rejected: Largest share of unusable recordings that is passed over.
        threads: Recordings decoded at a time.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: a subset has no transcripts, a transcript is not as expected, a recording
            that it lists is not there, or as for ``write_manifests``.
    """
    root = Path(root)
    recordings = [
        recording
        for split in SPLITS
        for subset in subsets[split]
        for recording in _read_subset(root, subset, split)
    ]
    require_files(root, recordings)
    published = {split: sum(PUBLISHED[name] for name in subsets[split]) for split in SPLITS}
    compare_counts(root, recordings, published)
    return write_manifests(
        recordings,
        root,
        out_dir,
        label_columns=["text"],
        seed=seed,
        valid_fraction=0.0,
        max_rejected=max_rejected,
        threads=threads,
    )


def _read_subset(root: Path, subset: str, split: str) -> list[Recording]:
    """Recordings of a subset, in order of speaker, chapter and utterance."""
    transcripts = sorted((root / subset).glob("*/*/*.trans.txt"), key=_numbers)
    if not transcripts:
        raise CorpusError(
            f"{root / subset}: expected {{speaker}}/{{chapter}}/{{speaker}}-{{chapter}}.trans.txt, "
            "found none"
        )
    return [item for path in transcripts for item in _read_transcripts(root, path, split)]


def _numbers(path: Path) -> tuple[int | str, ...]:
    speaker, chapter = path.parent.parent.name, path.parent.name
    numeric = speaker.isdigit() and chapter.isdigit()
    return (0, int(speaker), int(chapter)) if numeric else (1, speaker, chapter)


def _read_transcripts(root: Path, path: Path, split: str) -> list[Recording]:
    folder = path.parent.relative_to(root).as_posix()
    recordings = []
    for number, line in text_lines(path, CorpusError):
        name, _, text = line.partition(" ")
        if not (words := spell(text)):
            raise CorpusError(f"{path}, line {number}: expected 'name TEXT', found {line!r}")
        recordings.append(
            Recording(
                path=f"{folder}/{name}.flac",
                split=split,
                labels={"text": words},
                speaker=path.parent.parent.name,
            )
        )
    return recordings
