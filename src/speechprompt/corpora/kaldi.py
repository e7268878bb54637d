"""Kaldi's data folders: ``wav.scp``, and beside it ``segments``, ``text`` and ``utt2*``.

https://kaldi-asr.org/doc/data_prep.html. A line of ``wav.scp`` names the file of a recording, or a
command whose output is one. The output of commands is kept in a folder, so that they are run once.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from speechprompt.audio.places import Place
from speechprompt.config.corpora import KaldiCorpus
from speechprompt.corpora.manifest import RESERVED_COLUMNS, Listing, Recording
from speechprompt.corpora.table import read_times
from speechprompt.errors import CorpusError, some_of
from speechprompt.runtime.progress import log, progress
from speechprompt.storage.files import atomic_path, text_lines

__all__ = ["label_columns_of", "list_recordings", "listing_files", "recording_files"]

# Files that describe recordings or features, not what is said.
NO_LABELS = ("utt2spk", "utt2dur", "utt2num_frames", "utt2num_samples", "utt2uniq", "utt2split")
# Line number and rest of a line, by its first word.
Entries = dict[str, tuple[int, str]]


def list_recordings(
    corpus: KaldiCorpus, root: Path, seed: int, made: Path | None = None
) -> Listing:
    """List the utterances of the data folders, with the labels ``text`` and those of ``utt2*``.

    Args:
        corpus: settings of the corpus.
        root: folder that relative paths in ``wav.scp`` start from, and where commands are run.
        seed: not used.
        made: folder for the output of commands; None lets nothing be run.

    Raises:
        CorpusError: a file is missing or wrong, a command fails, or commands are not trusted.
    """
    recordings: list[Recording] = []
    labels = label_columns_of(corpus)[:-1]
    for split, folder in _folders(corpus):
        audio = _read_audio(corpus, split, folder, root, made)
        recordings += _utterances(folder, split, audio, labels)
    return Listing(recordings, labels, corpus.valid_fraction)


def listing_files(corpus: KaldiCorpus) -> list[str]:
    """The files of the data folders that are read."""
    found = []
    for _, folder in _folders(corpus):
        named = (folder / name for name in ("wav.scp", "segments", "text", "utt2spk"))
        paths = {*named, *folder.glob("utt2*")}
        found += sorted(str(path) for path in paths if path.is_file())
    return found


def recording_files(corpus: KaldiCorpus) -> list[str]:
    """The recordings that are files, relative to the root."""
    entries = (_read_entries(folder / "wav.scp") for _, folder in _folders(corpus))
    return [text for found in entries for _, text in found.values() if not text.endswith("|")]


def label_columns_of(corpus: KaldiCorpus) -> list[str]:
    """The columns that a task can predict: those that all data folders have, and the speaker."""
    columns: dict[str, int] = {}
    folders = list(_folders(corpus))
    for _, folder in folders:
        for name in _labels_in(folder):
            columns[name] = columns.get(name, 0) + 1
    common = [name for name, count in columns.items() if count == len(folders)]
    if partial := sorted(set(columns) - set(common)):
        log(f"{corpus.train}: not in every data folder, and therefore no label: {some_of(partial)}")
    return [*common, "speaker"]


def _folders(corpus: KaldiCorpus) -> Iterator[tuple[str, Path]]:
    for split, folder in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        if folder is not None:
            yield split, Path(folder)


def _labels_in(folder: Path) -> list[str]:
    named = sorted(path.name for path in folder.glob("utt2*"))
    names = [name.removeprefix("utt2") for name in named if name not in NO_LABELS]
    if reserved := [name for name in names if name in RESERVED_COLUMNS]:
        raise CorpusError(
            f"{folder / ('utt2' + reserved[0])}: a label column cannot be named {reserved[0]!r}"
        )
    return [*(["text"] if (folder / "text").is_file() else []), *names]


def _read_entries(path: Path) -> Entries:
    """Read lines of a name and what belongs to it, which may be nothing."""
    found: Entries = {}
    for number, line in text_lines(path, CorpusError):
        name, _, rest = line.partition(" ") if " " in line else line.partition("\t")
        name, tab, more = name.partition("\t")
        rest = f"{more} {rest}" if tab else rest
        if name in found:
            raise CorpusError(
                f"{path}, line {number}: {name!r} is there before, in line {found[name][0]}"
            )
        found[name] = (number, rest.strip())
    return found


def _read_audio(
    corpus: KaldiCorpus, split: str, folder: Path, root: Path, made: Path | None
) -> dict[str, str]:
    """Paths of a folder's recordings, from the root, by their names."""
    path, found = folder / "wav.scp", {}
    entries = _read_entries(path)
    if not entries:
        raise CorpusError(f"{path}: expected recordings, found no line")
    commands: list[tuple[str, Path, str]] = []
    for name, (number, text) in entries.items():
        where = f"{path}, line {number}"
        if not text:
            raise CorpusError(f"{where}: expected the file of {name!r}, found nothing")
        if text.rpartition(":")[0].endswith(".ark"):
            raise CorpusError(
                f"{where}: {text} is in an archive, which is not read; write files with wav-copy"
            )
        found[name] = text
        if text.endswith("|"):
            if not corpus.trust or made is None:
                raise CorpusError(
                    f"{where}: {name!r} is the output of a command, which runs with trust: true "
                    "in the configuration only"
                )
            out = made / split / f"{quote(name, safe='')}.wav"
            # A run and its recordings may be moved together, unless they were named differently.
            found[name] = str(out.absolute() if root.is_absolute() else os.path.relpath(out, root))
            commands.append((text[:-1], out, where))
    for command in progress(commands, "commands") if commands else ():
        _run(*command, root)
    return found


def _run(command: str, out: Path, where: str, root: Path) -> None:
    """Keep what a command writes to its standard output."""
    with atomic_path(out) as temporary, temporary.open("wb") as stream:
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail\n{command}"],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.PIPE,
        )
        size = temporary.stat().st_size
        if done.returncode or not size:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise CorpusError(
                f"{where}: the command ended with status {done.returncode} and {size} bytes "
                f"({said[-1] if said else 'no message'})"
            )


def _utterances(
    folder: Path, split: str, audio: Mapping[str, str], labels: list[str]
) -> Iterator[Recording]:
    """The utterances of a folder, in the order of its ``segments`` or else of its recordings."""
    paths = {"text": folder / "text"} | {
        name: folder / f"utt2{name}" for name in labels if name != "text"
    }
    if (folder / "utt2spk").is_file():
        paths["speaker"] = folder / "utt2spk"
    places = dict(_read_segments(folder / "segments", audio)) or {
        name: Place(path) for name, path in audio.items()
    }
    columns = {name: _read_entries(path) for name, path in paths.items()}
    for name, entries in columns.items():
        if unknown := next((utterance for utterance in entries if utterance not in places), None):
            raise CorpusError(
                f"{paths[name]}, line {entries[unknown][0]}: no utterance {unknown!r} in {folder}; "
                "run utils/fix_data_dir.sh"
            )
    for utterance, place in places.items():
        values = {}
        for name, entries in columns.items():
            if utterance not in entries:
                raise CorpusError(
                    f"{paths[name]}: no line for utterance {utterance!r}; run utils/fix_data_dir.sh"
                )
            values[name] = entries[utterance][1]
        speaker = values.pop("speaker", None)
        yield Recording(str(place), split, values, speaker or None, utterance)


def _read_segments(path: Path, audio: Mapping[str, str]) -> Iterator[tuple[str, Place]]:
    """Names and places of the utterances in longer recordings; nothing without such a file."""
    if not path.is_file():
        return
    for name, (number, text) in _read_entries(path).items():
        where, words = f"{path}, line {number}", text.split()
        if len(words) not in (3, 4):
            raise CorpusError(
                f"{where}: expected utterance, recording, start and end, found "
                f"{len(words) + 1} words"
            )
        if words[0] not in audio:
            raise CorpusError(f"{where}: no recording {words[0]!r} in wav.scp")
        channel = words[3] if len(words) == 4 else ""
        if channel and not (channel.isascii() and channel.isdecimal()):
            raise CorpusError(f"{where}: expected a channel from 0, found {channel!r}")
        # Kaldi takes -1 for the end of the recording.
        end = "" if words[2] in ("-1", "-1.0") else words[2]
        times = read_times(words[1], end, where)
        yield name, Place(audio[words[0]], *times, int(channel) if channel else None)
