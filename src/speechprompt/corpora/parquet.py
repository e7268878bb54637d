"""Parquet files with recordings inside, as the audio data sets of the Hugging Face hub are.

https://huggingface.co/docs/datasets. A column has structs of ``bytes`` and ``path``. The schema's
metadata say what other columns are; the numbers of a ``ClassLabel`` become its names.
"""

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speechprompt.audio.places import Place
from speechprompt.config.corpora import ParquetCorpus
from speechprompt.corpora.manifest import RESERVED_COLUMNS, Listing, Recording
from speechprompt.corpora.table import read_times
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import log

__all__ = ["label_columns_of", "list_recordings", "listing_files", "recording_files"]

# The names that splits have on the hub.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
KEYWORD = re.compile(rf"(?<![a-zA-Z0-9])({'|'.join(SPLIT_NAMES)})(?![a-zA-Z])")


@dataclass(frozen=True)
class _File:
    """What the columns of a file are.

    Attributes:
        path: the file.
        audio: the column of recordings.
        classes: names of the classes, by column.
        labels: other columns of texts and numbers, without the speaker's and the split's.
        columns: all columns that are read, besides the recordings.
    """

    path: Path
    audio: str
    classes: dict[str, list[str]]
    labels: list[str]
    columns: list[str]


def list_recordings(corpus: ParquetCorpus, root: Path, seed: int) -> Listing:
    """List the recordings of all files below the root.

    Raises:
        CorpusError: there are no such files, one cannot be read or has other columns, or the split
            or the class of a row is not known.
    """
    opened = [_open(corpus, path) for path in _paths(root)]
    for file in opened:
        if file.labels != opened[0].labels:
            raise CorpusError(
                f"{file.path}: expected the columns {', '.join(opened[0].labels)} as in "
                f"{opened[0].path}, found {', '.join(file.labels)}"
            )
    recordings = [one for file in opened for one in _recordings(corpus, file, root)]
    return Listing(recordings, opened[0].labels, corpus.valid_fraction)


def listing_files(corpus: ParquetCorpus) -> list[str]:
    """All files."""
    return list(map(str, _paths(Path(corpus.base))))


def recording_files(corpus: ParquetCorpus) -> list[str]:
    """All files, relative to their folder."""
    folder = Path(corpus.base)
    return [path.relative_to(folder).as_posix() for path in _paths(folder)]


def label_columns_of(corpus: ParquetCorpus) -> list[str]:
    """The columns that a task can predict: the labels and the speaker."""
    return [*_open(corpus, _paths(Path(corpus.base))[0], quiet=True).labels, "speaker"]


def _paths(folder: Path) -> list[Path]:
    # The folder may be the working directory, and downloads have hidden folders.
    results = Path.cwd() / "results"
    found = sorted(
        path
        for path in folder.rglob("*.parquet")
        if path.is_file()
        and not path.absolute().is_relative_to(results)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise CorpusError(f"{folder}: expected Parquet files in or below this folder, found none")
    return found


def _open(corpus: ParquetCorpus, path: Path, quiet: bool = False) -> _File:
    """Read a file's schema."""
    try:
        schema = pq.read_schema(path)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: cannot be read as Parquet ({error})") from error
    features = _features(path, schema)
    audio = [name for name in schema.names if _is_audio(schema.field(name).type)]
    if corpus.audio is not None:
        audio = [name for name in audio if name == corpus.audio]
    if len(audio) != 1:
        raise CorpusError(
            f"{path}: expected one column of recordings (a struct of bytes and path"
            f"{f' named {corpus.audio!r}' if corpus.audio else ''}), found {len(audio)} among "
            f"{', '.join(schema.names)}; name it as audio"
        )
    for key, name in (("speaker", corpus.speaker), ("split", corpus.split)):
        if name is not None and name not in schema.names:
            raise CorpusError(
                f"{path}: expected the column {name!r} ({key}), found {', '.join(schema.names)}"
            )
    taken = {*audio, corpus.speaker, corpus.split, "speaker", "start", "end"}
    named = [name for name in schema.names if name not in taken]
    labels = [
        name
        for name in named
        if _is_scalar(schema.field(name).type) and name not in RESERVED_COLUMNS
    ]
    if (passed := [name for name in named if name not in labels]) and not quiet:
        log(f"{path}: columns that are no labels: {', '.join(passed)}")
    others = [name for name in ("speaker", "start", "end") if name in schema.names]
    wanted = dict.fromkeys([*labels, *others, corpus.speaker, corpus.split])
    columns = [name for name in wanted if name is not None]
    return _File(path, audio[0], features, labels, columns)


def _features(path: Path, schema: pa.Schema) -> dict[str, list[str]]:
    """Names of classes by column, from the metadata that the hub's library writes."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
        return {
            column: list(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CorpusError(
            f"{path}: cannot read its metadata 'huggingface' ({type(error).__name__}: {error})"
        ) from error


def _is_audio(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return False
    names = {kind.field(i).name for i in range(kind.num_fields)}
    return {"bytes", "path"} <= names


def _is_scalar(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = ("string", "large_string", "integer", "boolean", "floating")
    return any(getattr(pa.types, f"is_{name}")(kind) for name in tests)


def _recordings(corpus: ParquetCorpus, file: _File, root: Path) -> Iterator[Recording]:
    """The rows of a file."""
    relative = file.path.relative_to(root).as_posix()
    split = None if corpus.split else _split_of(relative, file.path)
    try:
        table = pq.ParquetFile(file.path)
        rows = table.read([*file.columns, f"{file.audio}.path"])
        inside = _has_bytes(table, file.audio)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{file.path}: cannot be read as Parquet ({error})") from error
    columns = {
        name: [_text(file, name, row, value) for row, value in enumerate(rows[name].to_pylist())]
        for name in file.columns
    }
    names = [cell["path"] if cell else None for cell in rows[file.audio].to_pylist()]
    for row, name in enumerate(names):
        where = f"{file.path}, row {row}"
        cells: dict[str, str] = {column: values[row] for column, values in columns.items()}
        times = read_times(cells.get("start"), cells.get("end"), where)
        if inside[row]:
            place = Place(relative, *times, column=file.audio, row=row)
        elif name:
            place = Place(posixpath.join(posixpath.dirname(relative), name), *times)
        else:
            raise CorpusError(f"{where}: column {file.audio!r} has neither bytes nor a path")
        told = cells[corpus.split] if corpus.split else ""
        found = split or SPLIT_NAMES.get(told.lower())
        if found is None:
            raise CorpusError(f"{where}: expected split train, valid or test, found {told!r}")
        speaker = cells.get(corpus.speaker or "speaker") or None
        utt_id = posixpath.splitext(posixpath.basename(name))[0] if name else None
        if place.is_cut and utt_id:
            utt_id = Place(utt_id, *times).name
        labels = {key: cells[key] for key in file.labels}
        yield Recording(str(place), found, labels, speaker, utt_id)


def _has_bytes(table: pq.ParquetFile, column: str) -> list[bool]:
    """Whether each row has its recording inside; mostly the statistics tell without reading it."""
    result: list[bool] = []
    for group in range(table.num_row_groups):
        about = table.metadata.row_group(group)
        chunks = [about.column(i) for i in range(about.num_columns)]
        chunk = next(one for one in chunks if one.path_in_schema == f"{column}.bytes")
        nulls = chunk.statistics.null_count if chunk.statistics is not None else None
        if nulls in (0, about.num_rows):
            result += [nulls == 0] * about.num_rows
        else:
            cells = table.read_row_group(group, [f"{column}.bytes"])[column].to_pylist()
            result += [bool(cell) and cell["bytes"] is not None for cell in cells]
    return result


def _split_of(name: str, path: Path) -> str:
    """The split in a file's name or else in those of its folders."""
    for part in reversed(name.split("/")):
        if found := KEYWORD.findall(part):
            return SPLIT_NAMES[found[0]]
    raise CorpusError(
        f"{path}: expected train, valid (validation, dev) or test in the name of the file or its "
        "folder; name the column with the split as split"
    )


def _text(file: _File, column: str, row: int, value: Any) -> str:
    """A cell as text; nothing is empty, and a class is its name."""
    if value is None or value != value:  # NaN, as pandas writes what is missing
        return ""
    if column not in file.classes:
        return str(value).strip()
    names = file.classes[column]
    if value == -1:  # the hub's mark of a row without a class
        return ""
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise CorpusError(
            f"{file.path}, row {row}: expected a class 0 to {len(names) - 1} as {column}, "
            f"found {value!r}"
        )
    return names[value]
