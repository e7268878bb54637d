"""LibriSpeech: read English, FLAC, one ``*.trans.txt`` per chapter (Panayotov et al., 2015).

https://www.openslr.org/12, CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path

from speechprompt.config.corpora import LibriSpeechCorpus
from speechprompt.corpora.manifest import SPLITS, Listing, Recording
from speechprompt.corpora.published.counts import compare_counts, require_files, spell
from speechprompt.errors import CorpusError
from speechprompt.storage.files import text_lines

__all__ = ["list_recordings"]

PUBLISHED = {
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
    "dev-clean": 2_703,
    "dev-other": 2_864,
    "test-clean": 2_620,
    "test-other": 2_939,
}


def list_recordings(corpus: LibriSpeechCorpus, root: Path, seed: int) -> Listing:
    """List the recordings of the configured subsets, with the column ``text``.

    Args:
        corpus: settings: the subsets of each split.
        root: folder that has the subsets' folders.
        seed: as for every corpus; nothing is drawn here.

    Raises:
        CorpusError: a subset has no transcripts, a transcript is not as expected, or a recording
            that it lists is not there.
    """
    subsets = {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}
    recordings = [
        recording
        for split in SPLITS
        for subset in subsets[split]
        for recording in _read_subset(root, subset, split)
    ]
    require_files(root, recordings)
    published = {split: sum(PUBLISHED[name] for name in subsets[split]) for split in SPLITS}
    compare_counts(root, recordings, published)
    return Listing(recordings, ["text"])


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
