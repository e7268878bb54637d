"""Lhotse's manifests: JSON lines of recordings and supervisions, or of cuts.

https://lhotse.readthedocs.io. A supervision is an utterance, and so is a cut, which has one
supervision or, without labels, none.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechprompt.audio.places import Place
from speechprompt.config.corpora import LhotseCorpus
from speechprompt.corpora.manifest import RESERVED_COLUMNS, Listing, Recording
from speechprompt.errors import CorpusError

__all__ = ["label_columns_of", "list_recordings", "listing_files", "recording_files"]

LONGEST_LINE = 2**24
FIXED_LABELS = ("text", "language", "gender")


def list_recordings(corpus: LhotseCorpus, root: Path, seed: int) -> Listing:
    """List the utterances of the manifests, with the labels that any supervision has.

    Labels are ``text``, ``language``, ``gender`` and the texts and numbers among ``custom``.

    Raises:
        CorpusError: a manifest cannot be read, or has what would have to be computed first, such as
            mixed cuts and changed speeds; the message names the line.
    """
    found = list(_utterances(corpus))
    columns = _columns(label for _, _, _, label in found)
    return Listing(
        [
            Recording(
                str(place),
                split,
                {name: labels.get(name, "") for name in columns},
                labels.get("speaker") or None,
                name,
            )
            for split, name, place, labels in found
        ],
        columns,
        corpus.valid_fraction,
    )


def listing_files(corpus: LhotseCorpus) -> list[str]:
    """All manifests."""
    return [path for _, files in _files(corpus) for path in files]


def recording_files(corpus: LhotseCorpus) -> list[str]:
    """The recordings, relative to the root."""
    return list(dict.fromkeys(place.file for _, _, place, _ in _utterances(corpus)))


def label_columns_of(corpus: LhotseCorpus) -> list[str]:
    """The columns that a task can predict: the labels and the speaker."""
    return [*_columns(labels for _, _, _, labels in _utterances(corpus)), "speaker"]


def _files(corpus: LhotseCorpus) -> Iterator[tuple[str, list[str]]]:
    for split, files in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        if files is not None:
            yield split, [files] if isinstance(files, str) else files


def _columns(rows: Iterator[Mapping[str, str]]) -> list[str]:
    names = dict.fromkeys(name for labels in rows for name in labels)
    return [
        name
        for name in (*FIXED_LABELS, *sorted({*names} - {*FIXED_LABELS}))
        if name in names and name not in RESERVED_COLUMNS
    ]


def _utterances(corpus: LhotseCorpus) -> Iterator[tuple[str, str, Place, dict[str, str]]]:
    """Split, name, place and labels of every utterance."""
    for split, files in _files(corpus):
        recordings: dict[str, dict[str, Any]] = {}
        supervisions: list[tuple[str, dict[str, Any]]] = []
        for path in files:
            for where, item in _read_lines(Path(path)):
                try:
                    if "type" in item or "recording" in item:
                        yield split, str(item["id"]), *_read_cut(item)
                    elif "sources" in item:
                        if item["id"] in recordings:
                            raise ValueError(f"the recording {item['id']!r} is there twice")
                        recordings[item["id"]] = item
                    elif "recording_id" in item:
                        supervisions.append((where, item))
                    else:
                        raise ValueError("expected a recording, a supervision or a cut")
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise CorpusError(f"{where}: {_what(error)}") from error
        for where, item in supervisions:
            try:
                recording = recordings.get(item["recording_id"])
                if recording is None:
                    raise ValueError(f"no recording {item['recording_id']!r} in these manifests")
                place = _place(recording, item["start"], item["duration"], item.get("channel", 0))
                yield split, str(item["id"]), place, _labels(item)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise CorpusError(f"{where}: {_what(error)}") from error


def _what(error: Exception) -> str:
    return f"expected the field {error}" if isinstance(error, KeyError) else str(error)


def _read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """File and line, and the object in it."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as stream:
            number = 0
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise CorpusError(f"{path}, line {number}: longer than {LONGEST_LINE:,} bytes")
                if not line.strip():
                    continue
                try:
                    item = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise CorpusError(
                        f"{path}, line {number}: cannot be read as JSON ({error})"
                    ) from error
                if not isinstance(item, dict):
                    raise CorpusError(f"{path}, line {number}: expected an object of JSON")
                yield f"{path}, line {number}", item
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path}: cannot be read ({error})") from error


def _read_cut(cut: Mapping[str, Any]) -> tuple[Place, dict[str, str]]:
    """Place and labels of a cut."""
    if cut.get("type") not in ("MonoCut", "MultiCut"):
        raise ValueError(f"a cut of type {cut.get('type')} is not read; save its audio first")
    supervisions = cut.get("supervisions") or []
    if len(supervisions) > 1:
        raise ValueError(
            f"the cut has {len(supervisions)} supervisions; divide it with trim_to_supervisions()"
        )
    if "recording" not in cut:
        raise ValueError("the cut has no recording, only features")
    place = _place(cut["recording"], cut["start"], cut["duration"], cut["channel"])
    own = {"custom": cut.get("custom")}
    return place, _labels(own) | (_labels(supervisions[0]) if supervisions else {})


def _labels(supervision: Mapping[str, Any]) -> dict[str, str]:
    values = {name: supervision.get(name) for name in (*FIXED_LABELS, "speaker")}
    custom = supervision.get("custom") or {}
    values |= {name: value for name, value in custom.items() if name not in values}
    return {
        name: str(value)
        for name, value in values.items()
        if isinstance(value, str | int | float) and value == value  # NaN is none
    }


def _place(
    recording: Mapping[str, Any], start: float, duration: float, channel: int | list[int]
) -> Place:
    """Where the samples of a part of a recording are."""
    changes = [change.get("name") for change in recording.get("transforms") or []]
    if changed := [name for name in changes if name != "Resample"]:
        raise ValueError(f"the recording is changed by {changed[0]}; save its audio first")
    wanted = channel if isinstance(channel, list) else [channel]
    sources = [one for one in recording["sources"] if set(one["channels"]) & set(wanted)]
    if len(sources) != 1:
        raise ValueError(f"expected one file with channel {channel}, found {len(sources)}")
    source = sources[0]
    if source["type"] != "file":
        raise ValueError(f"a recording of type {source['type']!r} is not read, only files are")
    chosen = None
    if set(source["channels"]) != set(wanted):
        if len(wanted) > 1:
            raise ValueError(f"expected one channel or all, found {channel}")
        chosen = source["channels"].index(wanted[0])
    start, end = float(start), round(float(start) + float(duration), 8)
    if not 0 <= start < end:
        raise ValueError(f"expected an end after the start {start:g}, found {end:g}")
    whole = start == 0 and abs(end - float(recording["duration"])) < 1e-6
    file = str(source["source"])
    return Place(file, channel=chosen) if whole else Place(file, start, end, chosen)
