"""Manifests: the recordings of a corpus as one Parquet file per split, for every kind of corpus."""

import os
import posixpath
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from speechprompt.audio.places import Place
from speechprompt.audio.reading import AudioError, probe_content
from speechprompt.corpora.overlaps import judge_overlaps
from speechprompt.errors import ArtefactError, CorpusError, some_of
from speechprompt.runtime.progress import log, progress
from speechprompt.storage.files import atomic_path
from speechprompt.storage.hashes import share_of
from speechprompt.storage.parquet import metadata_of, read_schema, write_parquet
from speechprompt.storage.text import cell_text

__all__ = [
    "RESERVED_COLUMNS",
    "SPLITS",
    "Listing",
    "Recording",
    "hold_out_valid",
    "manifest_schema",
    "read_root",
    "unique_ids",
    "write_manifests",
]

SPLITS = ("train", "valid", "test")
REJECTS_SCHEMA = pa.schema({"path": pa.string(), "split": pa.string(), "reason": pa.string()})
FAILED_REJECTS = "rejects.failed.csv"
# Columns that a stage writes itself, so that no label may have their names.
RESERVED_COLUMNS = frozenset(
    [
        *("utt_id", "path", "split", "n_samples", "sample_rate", "speaker", "frames", "n_frames"),
        *("units", "renditions", "durations", "reference", "prediction", "score", "reason"),
    ]
)
FIXED_FIELDS = (
    pa.field("utt_id", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("n_samples", pa.int64(), nullable=False),
    pa.field("sample_rate", pa.int32(), nullable=False),
    pa.field("speaker", pa.string()),
)
PROBES_PER_THREAD = 64

# A recording on its way to the manifest: its path, split, speaker and labels by column.
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recording:
    """One utterance, as its corpus describes it.

    Attributes:
        path: its recording or the :class:`~speechprompt.audio.places.Place` in one, relative to the
            corpus root.
        split: ``train``, ``valid`` or ``test``.
        labels: value of every label column.
        speaker: who speaks, where that is known.
        utt_id: its name; by default that of its place.
    """

    path: str
    split: str
    labels: Mapping[str, str]
    speaker: str | None = None
    utt_id: str | None = None


def manifest_schema(label_columns: Sequence[str], root: str = "") -> pa.Schema:
    """The schema of a manifest: identity, length at the file's sample rate, speaker, labels.

    Its metadata hold the ``root`` that paths are relative to; a relative root starts at the
    manifest's folder.
    """
    labels = [pa.field(name, pa.string(), nullable=False) for name in label_columns]
    return pa.schema([*FIXED_FIELDS, *labels], metadata={"root": root})


def read_root(manifest_path: str | Path) -> Path:
    """The folder that a manifest's paths are relative to.

    A root that was given as a relative path, or together with an absolute path of the manifests, is
    found from the manifest, so that a run may be moved or copied together with its recordings.

    Raises:
        ArtefactError: the manifest cannot be read, or does not name the folder.
    """
    root = metadata_of(read_schema(manifest_path)).get("root")
    if not root:
        raise ArtefactError(
            f"{manifest_path}: expected a manifest that names the folder of its recordings; "
            "prepare the corpus again"
        )
    return Path(os.path.normpath(Path(manifest_path).parent / root))


@dataclass(frozen=True)
class Listing:
    """The recordings that a corpus lists.

    Attributes:
        recordings: its recordings in order, of the splits ``train``, ``valid`` and ``test``.
        label_columns: names of the labels; every recording has exactly these.
        valid_fraction: share of ``train`` that becomes ``valid`` if no recording belongs to
            ``valid``, 0 to 1.
    """

    recordings: Sequence[Recording]
    label_columns: Sequence[str]
    valid_fraction: float = 0.0


def write_manifests(
    listing: Listing,
    root: str | Path,
    out_dir: str | Path,
    *,
    seed: int,
    max_rejected: float = 0.01,
    max_repeated: float = 1.0,
    threads: int = 1,
) -> dict[str, int]:
    """Decode every recording and write ``{train,valid,test,rejects}.parquet``.

    Rows keep the order of the listing, whatever ``threads`` is. An utterance's id is the one that
    its corpus gives it, or else its path without extension. If no recording belongs to ``valid``, a
    share of ``train`` becomes ``valid``: the recordings with the smallest seeded hashes, so that
    recordings that are added later do not move others. A corpus without labels, which is for
    pre-training only, may have no ``test``.

    Args:
        listing: The recordings of the corpus.
        root: Folder that their paths are relative to.
        out_dir: Folder of the manifests.
        seed: Seed of the share that becomes ``valid``.
        max_rejected: Largest share of unusable recordings that may be left out, 0 to 1.
        max_repeated: Largest share of ``valid``, and of ``test``, whose samples may be those of a
            recording of an earlier split, 0 to 1.
        threads: Number of recordings that are decoded at a time.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: a file is listed twice, by its own path or through a link, a split has no
            usable recording, more than ``max_repeated`` are in an earlier split too, or more than
            ``max_rejected`` are unusable. In the last case ``rejects.failed.csv`` lists them,
            because Snakemake may delete the outputs of a failed job.
    """
    root, out_dir = Path(root), Path(out_dir)
    rows = _identify(listing.recordings, root)
    needed = SPLITS if listing.label_columns else ("train", "valid")
    hold_out_valid(rows, root, needed, seed, listing.valid_fraction)
    kept: dict[str, list[Row]] = {split: [] for split in SPLITS}
    contents: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    rejected: list[Row] = []
    for row, outcome in _probe_all(rows, root, threads):
        if isinstance(outcome, AudioError):
            rejected.append(row | {"reason": outcome.reason})
        else:
            n_samples, sample_rate, content = outcome
            contents[row["split"]].append(content)
            kept[row["split"]].append(row | {"n_samples": n_samples, "sample_rate": sample_rate})
    rejects = pa.Table.from_pylist(rejected, REJECTS_SCHEMA)
    _judge_rejects(rejects, len(rows), root, out_dir, max_rejected)
    for split in needed:
        if not kept[split]:
            raise CorpusError(f"{root}: no usable recording in split {split!r}")
    _judge_repeats(contents, root, max_repeated)
    judge_overlaps(kept, root, max_repeated)
    _report_speakers(kept, root)
    # A run and its recordings may be moved together, unless they were named in different ways.
    apart = root.is_absolute() and not out_dir.is_absolute()
    stored = root if apart else Path(os.path.relpath(root, out_dir))
    schema = manifest_schema(listing.label_columns, stored.as_posix())
    for split, found in kept.items():
        write_parquet(out_dir / f"{split}.parquet", pa.Table.from_pylist(found, schema))
    write_parquet(out_dir / "rejects.parquet", rejects)
    return {split: len(found) for split, found in kept.items()}


def unique_ids(names: Iterable[str]) -> list[str]:
    """Make names distinct, in order: a repeated name gets the first free suffix -2, -3, …"""
    names = list(names)
    taken, seen = set(names), Counter[str]()
    result = []
    for name in names:
        seen[name] += 1
        unique = name
        if seen[name] > 1:
            while (unique := f"{name}-{seen[name]}") in taken:
                seen[name] += 1
            taken.add(unique)
        result.append(unique)
    return result


def _identify(recordings: Iterable[Recording], root: Path) -> list[Row]:
    """Give every recording its id and a normalised path, which may occur once only."""
    rows: list[Row] = []
    names: list[str] = []
    for recording in recordings:
        place = Place.at(root / recording.path)
        fragment = place.fragment
        file = posixpath.normpath(recording.path.rpartition("#")[0] if fragment else recording.path)
        path = f"{file}{fragment}"
        rows.append(
            {
                "path": path,
                "split": recording.split,
                "speaker": recording.speaker and unicodedata.normalize("NFC", recording.speaker),
                **recording.labels,
            }
        )
        names.append(recording.utt_id or replace(place, file=file).name)
    if not rows:
        raise CorpusError(f"{root}: no recordings")
    counts = Counter(row["path"] for row in rows)
    if repeated := [path for path, count in counts.items() if count > 1]:
        raise CorpusError(f"{root}: listed more than once: {some_of(repeated)}")
    _refuse_aliases(rows, root)
    if unknown := {row["split"] for row in rows} - set(SPLITS):
        raise CorpusError(f"{root}: expected splits {', '.join(SPLITS)}, found {some_of(unknown)}")
    return [{"utt_id": utt_id, **row} for utt_id, row in zip(unique_ids(names), rows, strict=True)]


def _refuse_aliases(rows: Sequence[Row], root: Path) -> None:
    """Refuse a file that is listed by two spellings of its path, or through a link."""
    first: dict[str, Row] = {}
    files: dict[str, str] = {}
    for row in rows:
        place = Place.at(root / row["path"])
        if place.file not in files:
            files[place.file] = os.path.realpath(place.file)
        before = first.setdefault(files[place.file] + place.fragment, row)
        if before is not row:
            raise CorpusError(
                f"{root}: {before['path']} ({before['split']}) and {row['path']} ({row['split']}) "
                "are the same file; list each recording once"
            )


def _judge_repeats(contents: Mapping[str, Sequence[bytes]], root: Path, most: float) -> None:
    """Report the recordings of a split whose samples an earlier split has; too many are an error.

    A score of such recordings says little about new ones.
    """
    earlier: dict[bytes, str] = {}
    for split in SPLITS:
        found = contents[split]
        repeated = Counter(earlier[content] for content in found if content in earlier)
        where = ", ".join(f"{count} in {name}" for name, count in repeated.items())
        if n_repeated := repeated.total():
            message = (
                f"{root}: {n_repeated} of {len(found)} recordings in {split} have the same samples "
                f"as recordings of an earlier split ({where})"
            )
            if n_repeated > most * len(found):
                raise CorpusError(f"{message}, more than max_repeated = {most:g} allows")
            log(f"warning: {message}; a score of them says little about new recordings")
        earlier |= {content: split for content in found if content not in earlier}


def _report_speakers(kept: Mapping[str, Sequence[Row]], root: Path) -> None:
    """Say how many speakers of the test split are in train too."""
    heard, tested = (
        {row["speaker"] for row in kept[split]} - {None} for split in ("train", "test")
    )
    if both := heard & tested:
        log(
            f"{root}: {len(both)} of {len(tested)} speakers in test are in train too: "
            f"{some_of(sorted(both))}"
        )


def hold_out_valid(
    rows: Sequence[Row], root: Path, needed: Sequence[str], seed: int, valid_fraction: float
) -> None:
    """Move a share of ``train`` to ``valid`` if no row belongs to it."""
    counts = Counter(row["split"] for row in rows)
    found = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    for split in needed:
        if split != "valid" and not counts[split]:
            raise CorpusError(f"{root}: no recordings in split {split!r} (found {found})")
    if counts["valid"]:
        return
    train = [(share_of(f"{seed}/{row['utt_id']}"), row) for row in rows if row["split"] == "train"]
    chosen = [row for share, row in train if share < valid_fraction]
    if valid_fraction > 0 and not chosen:
        chosen = [min(train, key=lambda pair: pair[0])[1]]
    if not chosen or len(chosen) == len(train):
        raise CorpusError(
            f"{root}: no recordings in split 'valid' and a share of {valid_fraction} of the "
            f"{len(train)} in 'train' leaves one of both empty; list valid recordings or "
            "change valid_fraction"
        )
    for row in chosen:
        row["split"] = "valid"


def _probe_all(
    rows: Sequence[Row], root: Path, threads: int
) -> Iterator[tuple[Row, tuple[int, int, bytes] | AudioError]]:
    """Decode the recordings in parallel; results come in the order of the rows."""
    with ThreadPoolExecutor(threads) as pool:
        window: deque[Future[tuple[int, int, bytes] | AudioError]] = deque()
        ahead = iter(rows)
        for row in progress(rows, "decode recordings", unit="file"):
            while len(window) < threads * PROBES_PER_THREAD and (following := next(ahead, None)):
                window.append(pool.submit(_probe, root / following["path"]))
            yield row, window.popleft().result()


def _probe(path: Path) -> tuple[int, int, bytes] | AudioError:
    try:
        return probe_content(path)
    except AudioError as error:
        return error


def _judge_rejects(
    rejects: pa.Table, n_recordings: int, root: Path, out_dir: Path, max_rejected: float
) -> None:
    """Raise an error if too many recordings are unusable; otherwise log how many are."""
    report = out_dir / FAILED_REJECTS
    if len(rejects) <= max_rejected * n_recordings:
        report.unlink(missing_ok=True)
        if len(rejects):
            log(f"{root}: {len(rejects)} of {n_recordings} recordings rejected")
        return
    with atomic_path(report) as temporary:
        rejects.to_pandas().map(cell_text).to_csv(temporary, index=False)
    raise CorpusError(
        f"{root}: {len(rejects)} of {n_recordings} recordings are unusable, more than "
        f"max_rejected = {max_rejected:g} allows; all are listed in {report}: "
        + some_of(f"{row['path']} ({row['reason']})" for row in rejects.to_pylist())
    )
