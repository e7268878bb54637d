"""Speech Commands v0.01 and its test archive: twelve classes (Warden, 2018; SUPERB's task KS).

CC BY 4.0. The split of v0.01 is a hash of the speaker; the test split is the separate archive.
``_silence_`` of train and valid are one-second crops of the six background noises, which SUPERB
draws anew in every epoch. Here they are cut once, seeded, under the published names
``{noise}-{first sample}.wav``, and split by the same hash. As published, one noise is behind
crops of both splits.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import soundfile

from speechprompt.config.corpora import SpeechCommandsCorpus
from speechprompt.corpora.manifest import Listing, Recording
from speechprompt.corpora.published.counts import compare_counts
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import progress

__all__ = ["CLASSES", "cut_silence", "hash_split", "list_recordings"]

CLASSES = (
    *("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
    *("_unknown_", "_silence_"),
)
TRAIN_FOLDER, TEST_FOLDER = (source.folder for source in SOURCES["speech_commands"])
NOISE, SILENCE_FOLDER = "_background_noise_", "silence"
# Speech only, without silence of train and valid.
PUBLISHED = {"train": 51_088, "valid": 6_798, "test": 3_081}
HASH_RANGE = 2**27
VALID_PERCENT, DISCARDED_PERCENT = 10, 10


def hash_split(name: str) -> str | None:
    """The published split of a recording, by its file name: all of a speaker's are in one.

    Returns:
        ``train``, ``valid``, or None where the rule discards it: the test archive replaces those.
    """
    speaker = _speaker(name)
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    percent = digest % HASH_RANGE * 100 / (HASH_RANGE - 1)
    if percent < VALID_PERCENT:
        return "valid"
    return "train" if percent >= VALID_PERCENT + DISCARDED_PERCENT else None


def list_recordings(corpus: SpeechCommandsCorpus, root: Path, seed: int) -> Listing:
    """List the recordings with the column ``label``; none is repeated.

    Rows are in the order of the classes, so that labels first appear in the published order.

    Args:
        corpus: settings: how many crops of silence are drawn before the split; about 80 % are for
            train, 10 % for valid.
        root: folder that has ``speech_commands_v0.01`` and ``speech_commands_test_set_v0.01``;
            gets ``silence``.
        seed: of the crops.

    Raises:
        CorpusError: a class or the noises are missing.
    """
    speech = [*_list_speech(root), *_list_test(root)]
    compare_counts(root, speech, PUBLISHED)
    noises = root / TRAIN_FOLDER / NOISE
    crops = cut_silence(noises, root / SILENCE_FOLDER, corpus.n_silence, seed=seed)
    silence = [
        Recording(f"{SILENCE_FOLDER}/{name}", split, {"label": "_silence_"})
        for name in crops
        if (split := hash_split(name)) is not None
    ]
    order = {label: index for index, label in enumerate(CLASSES)}
    recordings = sorted([*speech, *silence], key=lambda item: order[item.labels["label"]])
    return Listing(recordings, ["label"])


def cut_silence(noises: str | Path, out_dir: str | Path, n_crops: int, *, seed: int) -> list[str]:
    """Cut distinct crops of one second out of noises, evenly over the files; samples stay as is.

    Args:
        noises: Folder of the noises, WAV.
        out_dir: Folder of the crops; appears whole or not at all, replaced if it exists.
        n_crops: Crops in all.
        seed: Seed of where they begin.

    Returns:
        Names of the crops, ``{noise}-{first sample}.wav``, in order of noise and sample.

    Raises:
        CorpusError: no noise, one that cannot be read, or one too short for its share.
    """
    noises, out_dir = Path(noises), Path(out_dir)
    paths = sorted(noises.glob("*.wav"))
    if not paths:
        raise CorpusError(f"{noises}: expected background noises, *.wav, found none")
    starts = {
        path: _draw_starts(path, share, np.random.default_rng([seed, index]))
        for index, (path, share) in enumerate(zip(paths, _shares(n_crops, len(paths)), strict=True))
    }
    temporary = out_dir.with_name(f".{out_dir.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    names: list[str] = []
    try:
        for path in progress(paths, "cut silence", unit="file"):
            names += _cut(path, starts[path], temporary)
        if out_dir.exists():
            shutil.rmtree(out_dir)
        os.replace(temporary, out_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return names


def _shares(total: int, n: int) -> list[int]:
    """A total in n whole shares that differ by one at most."""
    return [(index + 1) * total // n - index * total // n for index in range(n)]


def _draw_starts(path: Path, n_crops: int, generator: np.random.Generator) -> list[int]:
    """Distinct first samples of crops that lie within the noise, in order."""
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


def _cut(path: Path, starts: list[int], out_dir: Path) -> list[str]:
    samples, rate = soundfile.read(path, dtype="int16")
    names = [f"{path.stem}-{start}.wav" for start in starts]
    for start, name in zip(starts, names, strict=True):
        soundfile.write(out_dir / name, samples[start : start + rate], rate, subtype="PCM_16")
    return names


def _list_speech(root: Path) -> list[Recording]:
    """What the hash puts into train and valid; words that are no keyword are unknown."""
    folder = root / TRAIN_FOLDER
    words = sorted(path.name for path in folder.glob("*/") if path.name != NOISE)
    if missing := [name for name in CLASSES[:-2] if name not in words]:
        raise CorpusError(f"{folder / missing[0]}: expected this keyword's folder, found none")
    return [
        Recording(
            path=path.relative_to(root).as_posix(),
            split=split,
            labels={"label": word if word in CLASSES else "_unknown_"},
            speaker=_speaker(path.name),
        )
        for word in words
        for path in sorted((folder / word).glob("*.wav"))
        if (split := hash_split(path.name)) is not None
    ]


def _list_test(root: Path) -> list[Recording]:
    folder = root / TEST_FOLDER
    if missing := [name for name in CLASSES if not (folder / name).is_dir()]:
        raise CorpusError(f"{folder / missing[0]}: expected this class's folder, found none")
    return [
        Recording(
            path=path.relative_to(root).as_posix(),
            split="test",
            labels={"label": label},
            speaker=_speaker(path.name) if "_nohash_" in path.name else None,
        )
        for label in CLASSES
        for path in sorted((folder / label).glob("*.wav"))
    ]


def _speaker(name: str) -> str:
    """The part of a file name that identifies the speaker."""
    return re.sub(r"_nohash_.*$", "", name)
