"""Speech Commands v0.02: all 35 words, or twelve classes as in v0.01 (Warden, 2018).

With 35 classes the splits are the published lists, which name recordings of valid and test by the
hash of the speaker; there is no silence. With twelve, train and valid are those of the words, test
is the separate archive, and silence is cut as in v0.01. The licence is CC BY 4.0.
"""

from pathlib import Path

from speechprompt.config.corpora import SpeechCommandsV2Corpus
from speechprompt.corpora.manifest import Listing, Recording
from speechprompt.corpora.published.counts import compare_counts, require_files
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.corpora.published.speech_commands import NOISE, list_keywords, speaker_of
from speechprompt.errors import CorpusError
from speechprompt.storage.files import text_lines

__all__ = ["list_recordings"]

FOLDER, TEST_FOLDER = (source.folder for source in SOURCES["speech_commands_v2"])
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
# With twelve classes these are without the silence of train and valid.
PUBLISHED = {
    35: {"train": 84_843, "valid": 9_981, "test": 11_005},
    12: {"train": 84_843, "valid": 9_981, "test": 4_890},
}


def list_recordings(corpus: SpeechCommandsV2Corpus, root: Path, seed: int) -> Listing:
    """List the recordings with the label ``label``, in the order of words and files.

    The root has ``speech_commands_v0.02`` and, for twelve classes,
    ``speech_commands_test_set_v0.02``; for these it gets the folder ``silence``.
    """
    published = PUBLISHED[corpus.classes]
    if corpus.classes == 12:
        return list_keywords(root, FOLDER, TEST_FOLDER, published, corpus.n_silence, seed)
    folder = root / FOLDER
    listed = {
        line: split
        for split, name in LISTS.items()
        for _, line in text_lines(folder / name, CorpusError)
    }
    recordings = [
        Recording(
            path=path.relative_to(root).as_posix(),
            split=listed.pop(f"{word.name}/{path.name}", "train"),
            labels={"label": word.name},
            speaker=speaker_of(path.name),
        )
        for word in sorted(folder.glob("*/"))
        if word.name != NOISE
        for path in sorted(word.glob("*.wav"))
    ]
    lost = [Recording(f"{FOLDER}/{name}", split, {}) for name, split in listed.items()]
    require_files(root, lost)
    compare_counts(root, recordings, published)
    return Listing(recordings, ["label"])
