"""Mini Speech Commands: 1000 recordings of each of eight words (a part of Warden, 2018).

It is the corpus of TensorFlow's tutorial on audio and has no published splits. Here a hash of the
speaker decides, as in Speech Commands v0.01; what that leaves to its test archive is test. The
licence is CC BY 4.0.
"""

from pathlib import Path

from speechprompt.config.corpora import MiniSpeechCommandsCorpus
from speechprompt.corpora.manifest import Listing, Recording
from speechprompt.corpora.published.sources import SOURCES, Source
from speechprompt.corpora.published.speech_commands import hash_split, speaker_of
from speechprompt.runtime.progress import log

__all__ = ["list_by_speaker", "list_recordings"]

(SOURCE,) = SOURCES["mini_speech_commands"]
PUBLISHED = 8000


def list_recordings(corpus: MiniSpeechCommandsCorpus, root: Path, seed: int) -> Listing:
    """List the recordings with the label ``label``, in the order of words and files."""
    recordings = list_by_speaker(root, SOURCE)
    if len(recordings) != PUBLISHED:
        log(
            f"{root}: {len(recordings)} recordings, as published it has {PUBLISHED}; results will "
            "not be comparable"
        )
    return Listing(recordings, ["label"])


def list_by_speaker(root: Path, source: Source) -> list[Recording]:
    """The recordings of all words in a folder, whose split a hash of the speaker decides."""
    return [
        Recording(
            path=path.relative_to(root).as_posix(),
            split=hash_split(path.name) or "test",
            labels={"label": path.parent.name},
            speaker=speaker_of(path.name),
        )
        for path in sorted((root / source.folder).glob(f"*/{Path(source.marker).name}"))
    ]
