"""Speech Commands v0.01 and its test archive: twelve classes (Warden, 2018; SUPERB's task KS).

A hash of the speaker decides the split of v0.01; the test split is the separate archive. The
recordings of ``_silence_`` in train and valid are one-second crops of the six background noises.
SUPERB draws them anew in every epoch. Here they are drawn once, by a seed, and get the published
names ``{noise}-{first sample}.wav``, whose hash decides their split. As published, both splits have
crops of the same noises. The licence is CC BY 4.0.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from speechprompt.config.corpora import SpeechCommandsCorpus
from speechprompt.corpora.manifest import Listing, Recording
from speechprompt.corpora.published.counts import compare_counts
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import progress
from speechprompt.storage.files import atomic_folder

__all__ = ["CLASSES", "cut_silence", "hash_split", "list_keywords", "list_recordings", "speaker_of"]

CLASSES = (
    *("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
    *("_unknown_", "_silence_"),
)
TRAIN_FOLDER, TEST_FOLDER = (source.folder for source in SOURCES["speech_commands"])
NOISE, SILENCE_FOLDER = "_background_noise_", "silence"
# These are the recordings of speech, without the silence of train and valid.
PUBLISHED = {"train": 51_088, "valid": 6_798, "test": 3_081}
HASH_RANGE = 2**27
VALID_PERCENT, DISCARDED_PERCENT = 10, 10


def hash_split(name: str) -> str | None:
    """The published split of a recording, which its file name decides, and thereby its speaker.

    Returns:
        ``train``, ``valid``, or None for a recording that the test archive replaces.
    """
    speaker = speaker_of(name)
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    percent = digest % HASH_RANGE * 100 / (HASH_RANGE - 1)
    if percent < VALID_PERCENT:
        return "valid"
    return "train" if percent >= VALID_PERCENT + DISCARDED_PERCENT else None


def list_recordings(corpus: SpeechCommandsCorpus, root: Path, seed: int) -> Listing:
    """List the recordings with the label ``label``; none is repeated.

    The root has ``speech_commands_v0.01`` and ``speech_commands_test_set_v0.01``, and gets the
    folder ``silence``. Its ``n_silence`` crops are drawn by the seed; about 80 % go to train, 10 %
    to valid. Rows are in the order of the classes, so that labels first appear in the published
    order.
    """
    return list_keywords(root, TRAIN_FOLDER, TEST_FOLDER, PUBLISHED, corpus.n_silence, seed)


def list_keywords(
    root: Path, train: str, test: str, published: Mapping[str, int], n_silence: int, seed: int
) -> Listing:
    """List the twelve classes of a version of the corpus, as :func:`list_recordings` does.

    Args:
        root: folder of the corpus.
        train: folder of train and valid, in the root.
        test: folder of the test archive, in the root.
        published: recordings of speech in each split.
        n_silence: number of crops of silence.
        seed: their seed.
    """
    speech = [*_list_speech(root, train), *_list_test(root, test)]
    compare_counts(root, speech, published)
    crops = cut_silence(root / train / NOISE, root / SILENCE_FOLDER, n_silence, seed=seed)
    silence = [
        Recording(f"{SILENCE_FOLDER}/{name}", split, {"label": "_silence_"})
        for name in crops
        if (split := hash_split(name)) is not None
    ]
    order = {label: index for index, label in enumerate(CLASSES)}
    recordings = sorted([*speech, *silence], key=lambda item: order[item.labels["label"]])
    return Listing(recordings, ["label"])


def cut_silence(noises: str | Path, out_dir: str | Path, n_crops: int, *, seed: int) -> list[str]:
    """Cut distinct crops of one second out of noises, evenly over the files.

    Args:
        noises: Folder of the noises, WAV files.
        out_dir: Folder of the crops, which appears whole or not at all; an existing one is
            replaced.
        n_crops: Total number of crops.
        seed: Seed of their first samples.

    Returns:
        Names of the crops, ``{noise}-{first sample}.wav``, in the order of noise and sample.

    Raises:
        CorpusError: there is no noise, or one cannot be read or is too short for its crops.
    """
    paths = sorted(Path(noises).glob("*.wav"))
    if not paths:
        raise CorpusError(f"{noises}: expected background noises, *.wav, found none")
    starts = {
        path: _draw_starts(path, share, np.random.default_rng([seed, index]))
        for index, (path, share) in enumerate(zip(paths, _shares(n_crops, len(paths)), strict=True))
    }
    names: list[str] = []
    with atomic_folder(out_dir) as temporary:
        for path in progress(paths, "cut silence", unit="file"):
            samples, rate = soundfile.read(path, dtype="int16")
            for start in starts[path]:
                names.append(f"{path.stem}-{start}.wav")
                crop = samples[start : start + rate]
                soundfile.write(temporary / names[-1], crop, rate, subtype="PCM_16")
    return names


def _shares(total: int, n: int) -> list[int]:
    """Divide a total into n whole numbers that differ by one at most."""
    return [(index + 1) * total // n - index * total // n for index in range(n)]


def _draw_starts(path: Path, n_crops: int, generator: np.random.Generator) -> list[int]:
    """Draw distinct first samples, in order, for crops that lie within the noise."""
    try:
        noise = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise CorpusError(f"{path}: cannot be read as audio ({error.error_string})") from error
    room = noise.frames - noise.samplerate + 1
    if room < n_crops:
        raise CorpusError(
            f"{path}: expected room for {n_crops} crops of one second, found {noise.frames} "
            f"samples at {noise.samplerate} Hz; lower n_silence"
        )
    return sorted(generator.choice(room, size=n_crops, replace=False).tolist())


def _list_speech(root: Path, train: str) -> list[Recording]:
    """The speech of train and valid; words that are no keywords have the label ``_unknown_``."""
    folder = root / train
    words = sorted(path.name for path in folder.glob("*/") if path.name != NOISE)
    if missing := [name for name in CLASSES[:-2] if name not in words]:
        raise CorpusError(f"{folder / missing[0]}: expected this keyword's folder, found none")
    return [
        Recording(
            path=path.relative_to(root).as_posix(),
            split=split,
            labels={"label": word if word in CLASSES else "_unknown_"},
            speaker=speaker_of(path.name),
        )
        for word in words
        for path in sorted((folder / word).glob("*.wav"))
        if (split := hash_split(path.name)) is not None
    ]


def _list_test(root: Path, test: str) -> list[Recording]:
    folder = root / test
    if missing := [name for name in CLASSES if not (folder / name).is_dir()]:
        raise CorpusError(f"{folder / missing[0]}: expected this class's folder, found none")
    return [
        Recording(
            path=path.relative_to(root).as_posix(),
            split="test",
            labels={"label": label},
            speaker=speaker_of(path.name) if "_nohash_" in path.name else None,
        )
        for label in CLASSES
        for path in sorted((folder / label).glob("*.wav"))
    ]


def speaker_of(name: str) -> str:
    """The part of a file name that identifies the speaker."""
    return re.sub(r"_nohash_.*$", "", name)
