"""Recordings of people in Debian packages: telephone prompts, and letters and words of games.

Nobody says what most of them say. They are for pre-training, which needs no labels
(``configs/nano.yaml``).
"""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import soundfile

from speechprompt.audio.reading import SAMPLE_RATE, AudioError, read_audio
from speechprompt.corpora.manifest import Recording
from speechprompt.corpora.table import write_table
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import log, progress
from speechprompt.storage.files import atomic_folder

__all__ = ["collect_recordings"]

# Folders with a folder for each voice: of asterisk-core-sounds-*-g722, asterisk-prompt-es-co and
# asterisk-prompt-fr-armelle, of klettres-data, and of ktuberling-data.
FOLDERS = {
    "asterisk": "usr/share/asterisk/sounds",
    "klettres": "usr/share/klettres",
    "ktuberling": "usr/share/ktuberling/sounds",
}
# Two folders with the voice of one person.
SAME_PERSON = {"es_MX_f_Allison": "en_US_f_Allison"}
TABLE = "recordings.csv"
SUFFIXES = {".g722", ".gsm", ".ogg", ".wav"}
SECONDS = (0.42, 15.0)
# Of a recording's loudest 25 ms: what is quieter at its start and end is cut off, but for 0.15 s.
SILENCE = 0.02
WINDOW, HOP, MARGIN = 400, 160, 2400


def collect_recordings(root: str | Path, out: str | Path) -> Path:
    """Collect the recordings of unpacked packages in a folder with a table.

    Silence at the start and end is cut off. Recordings of less than 0.42 s or more than 15 s are
    left out, and those that cannot be read are named and left out.

    Args:
        root: folder that ``dpkg -x`` unpacked the packages in.
        out: folder to make, with FLAC files of 16 kHz and ``recordings.csv`` (path, split,
            speaker); all are of the split train.

    Returns:
        The table.

    Raises:
        CorpusError: no recording is there that can be read, or one in G.722 without its package.
    """
    found = sorted(_find(Path(root)))
    if not found:
        raise CorpusError(f"{root}: none of {', '.join(FOLDERS.values())} has a recording")
    kept = []
    with atomic_folder(out) as folder:
        for path, speaker, name in progress(found, "collect recordings", len(found)):
            try:
                waveform = _cut(_read(path))
            except AudioError as error:
                log(f"left out: {error}")
                continue
            if SECONDS[0] <= len(waveform) / SAMPLE_RATE <= SECONDS[1]:
                flac = f"{speaker}-{name}.flac"
                soundfile.write(folder / flac, waveform, SAMPLE_RATE, subtype="PCM_16")
                kept.append(Recording(flac, "train", {}, speaker))
        if not kept:
            raise CorpusError(f"{root}: none of {len(found)} recordings can be used")
        length = "{:g} to {:g} s".format(*SECONDS)
        log(f"{len(kept)} of {len(found)} recordings can be read and are {length} long")
        write_table(folder / TABLE, kept)
    return Path(out) / TABLE


def _find(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Each recording with its speaker and a name of its own."""
    for package, folder in FOLDERS.items():
        for path in (root / folder).rglob("*"):
            voice, *name = path.relative_to(root / folder).parts
            if path.suffix in SUFFIXES and name and "silence" not in name:
                speaker = f"{package}-{SAME_PERSON.get(voice, voice)}"
                yield path, speaker, "-".join(map(_plain, [voice, *name[:-1], path.stem]))


def _plain(name: str) -> str:
    """A name for a file: other signs than letters, digits, _ and - by their code points."""
    return re.sub(r"[^A-Za-z0-9_-]", lambda match: f"+{ord(match.group()):x}", name)


def _read(path: Path) -> np.ndarray:
    if path.suffix != ".g722":
        return read_audio(path)
    try:
        decoder = import_module("G722").G722(SAMPLE_RATE, 64_000)
    except ImportError:
        raise CorpusError(
            f"{path}: G.722 is read by a package that `make voices` installs"
        ) from None
    return np.asarray(decoder.decode(path.read_bytes()), np.float32) / 2**15


def _cut(waveform: np.ndarray) -> np.ndarray:
    """A recording without the silence at its start and end."""
    if len(waveform) < WINDOW:
        return waveform[:0]
    windows = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]
    loudness = np.sqrt(np.mean(np.square(windows), axis=1))
    loud = np.flatnonzero(loudness > SILENCE * loudness.max())
    if not len(loud):
        return waveform[:0]
    start, end = loud[0] * HOP - MARGIN, loud[-1] * HOP + WINDOW + MARGIN
    return waveform[max(0, start) : end]
