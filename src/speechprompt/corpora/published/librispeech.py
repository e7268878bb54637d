"""LibriSpeech: read English as FLAC, with a ``*.trans.txt`` per chapter (Panayotov et al., 2015).

https://www.openslr.org/12, CC BY 4.0.
"""

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
    """List the recordings of the configured subsets, folders of the root, with the label ``text``.

    The order within a subset is that of speaker, chapter and utterance.
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
    transcripts = sorted((root / subset).glob("*/*/*.trans.txt"), key=_numbers)
    if not transcripts:
        raise CorpusError(
            f"{root / subset}: expected {{speaker}}/{{chapter}}/{{speaker}}-{{chapter}}.trans.txt, "
            "found none"
        )
    recordings = []
    for path in transcripts:
        folder, speaker = path.parent.relative_to(root).as_posix(), path.parts[-3]
        for number, line in text_lines(path, CorpusError):
            name, _, text = line.partition(" ")
            if not (words := spell(text)):
                raise CorpusError(f"{path}, line {number}: expected 'name TEXT', found {line!r}")
            recordings.append(Recording(f"{folder}/{name}.flac", split, {"text": words}, speaker))
    return recordings


def _numbers(path: Path) -> tuple[int | str, ...]:
    """Speaker and chapter of a transcript as numbers; other names come after these."""
    speaker, chapter = path.parts[-3:-1]
    numeric = speaker.isdigit() and chapter.isdigit()
    return (0, int(speaker), int(chapter)) if numeric else (1, speaker, chapter)
