"""Manifests: what every corpus becomes, one Parquet file per split, and the check of them."""

from __future__ import annotations

import csv
import os
import posixpath
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from speechprompt.audio.reading import AudioError, probe_audio
from speechprompt.errors import ArtefactError, CorpusError, some_of
from speechprompt.runtime.progress import log, progress
from speechprompt.storage.files import atomic_path
from speechprompt.storage.hashes import share_of
from speechprompt.storage.parquet import metadata_of, open_parquet, write_parquet

__all__ = [
    "RESERVED_COLUMNS",
    "SPLITS",
    "Listing",
    "Recording",
    "manifest_schema",
    "read_root",
    "unique_ids",
    "write_manifests",
]

SPLITS = ("train", "valid", "test")
REJECTS_SCHEMA = pa.schema({"path": pa.string(), "split": pa.string(), "reason": pa.string()})
FAILED_REJECTS = "rejects.failed.csv"
# Columns that some stage writes itself, so that no label may have their names.
RESERVED_COLUMNS = frozenset(
    [
        *("utt_id", "path", "split", "n_samples", "sample_rate", "speaker", "frames", "n_frames"),
        *("units", "durations", "reference", "prediction", "score", "reason"),
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


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording as its corpus describes it; ``path`` is relative to the corpus root."""

    path: str
    split: str
    labels: Mapping[str, str]
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    utt_id: str
    recording: Recording
    n_samples: int = 0
    sample_rate: int = 0


def manifest_schema(label_columns: Sequence[str], root: str = "") -> pa.Schema:
    """The schema of a manifest: identity, length at the file's own rate, speaker, labels.

    Its metadata hold the ``root`` that paths start from, itself relative to the manifest's folder.
    """
    labels = [pa.field(name, pa.string(), nullable=False) for name in label_columns]
    return pa.schema([*FIXED_FIELDS, *labels], metadata={"root": root})


def read_root(manifest_path: str | Path) -> Path:
    """Folder that a manifest's paths start from.

    A corpus that was named by a relative path is found from the manifest, so that a run may be
    moved or copied with its recordings.

    Raises:
        ArtefactError: the manifest cannot be read, or does not say.
    """
    with open_parquet(manifest_path) as file:
        root = metadata_of(file.schema_arrow).get("root")
    if not root:
        raise ArtefactError(
            f"{manifest_path}: expected a manifest that names the folder of its recordings; "
            "prepare the corpus again"
        )
    return Path(os.path.normpath(Path(manifest_path).parent / root))


def _place_of(root: Path, folder: Path) -> str:
    """A root as a manifest in a folder stores it: absolute as given, or from the folder."""
    return (root if root.is_absolute() else Path(os.path.relpath(root, folder))).as_posix()


@dataclass(frozen=True)
class Listing:
    """What a corpus lists.

    Attributes:
        recordings: its recordings, in order; splits ``train``, ``valid`` and ``test``.
        label_columns: names of the labels; every recording has exactly these.
        valid_fraction: share of train taken as ``valid`` where no recording belongs to it, 0 to 1.
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
    threads: int = 1,
) -> dict[str, int]:
    """Decode every recording and write ``{train,valid,test,rejects}.parquet``.

    Rows keep the order of the listing, whatever ``threads`` is. An utterance's id is its path
    without extension. Where no recording belongs to ``valid``, a share of ``train`` does: those
    whose seeded hash is small, so that recordings added later move no other. A corpus without
    labels, for pre-training only, may have no ``test``.

    Args:
        listing: What the corpus lists.
        root: Folder that the paths start from.
        out_dir: Folder of the manifests.
        seed: Seed of the share taken as ``valid``.
        max_rejected: Largest share of unusable recordings that is passed over, 0 to 1.
        threads: Recordings decoded at a time.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: a path is listed twice, a split has no usable recording, or more than
            ``max_rejected`` are unusable; these are then in ``rejects.failed.csv``, because a
            failed job's outputs may be deleted.
    """
    root, out_dir = Path(root), Path(out_dir)
    label_columns = listing.label_columns
    entries = _identify(listing.recordings, root)
    needed = SPLITS if label_columns else ("train", "valid")
    entries = _hold_out_valid(entries, root, needed, seed, listing.valid_fraction)
    kept: dict[str, list[_Entry]] = {split: [] for split in SPLITS}
    rejected: list[tuple[str, str, str]] = []
    for entry, outcome in _probe_all(entries, root, threads):
        recording = entry.recording
        if isinstance(outcome, AudioError):
            rejected.append((recording.path, recording.split, outcome.reason))
        else:
            n_samples, sample_rate = outcome
            probed = replace(entry, n_samples=n_samples, sample_rate=sample_rate)
            kept[recording.split].append(probed)
    _judge_rejects(rejected, len(entries), root, out_dir, max_rejected)
    for split in needed:
        if not kept[split]:
            raise CorpusError(f"{root}: no usable recording in split {split!r}")
    schema = manifest_schema(label_columns, _place_of(root, out_dir))
    for split in SPLITS:
        table = _to_table(kept[split], schema)
        write_parquet(out_dir / f"{split}.parquet", table)
    columns = list(zip(*rejected, strict=True)) or [[], [], []]
    write_parquet(out_dir / "rejects.parquet", pa.table(columns, schema=REJECTS_SCHEMA))
    return {split: len(kept[split]) for split in SPLITS}


def unique_ids(names: Iterable[str]) -> list[str]:
    """Make names distinct, in order: a repeated one gets the first free suffix -2, -3, …"""
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


def _identify(recordings: Iterable[Recording], root: Path) -> list[_Entry]:
    """Normalise the paths, refuse repeated ones and give every recording its id."""
    normal = [replace(item, path=posixpath.normpath(item.path)) for item in recordings]
    if not normal:
        raise CorpusError(f"{root}: no recordings")
    counts = Counter(item.path for item in normal)
    if repeated := [path for path, count in counts.items() if count > 1]:
        raise CorpusError(f"{root}: listed more than once: {some_of(repeated)}")
    if unknown := {item.split for item in normal} - set(SPLITS):
        raise CorpusError(f"{root}: expected splits {', '.join(SPLITS)}, found {some_of(unknown)}")
    ids = unique_ids(posixpath.splitext(item.path)[0] for item in normal)
    return [_Entry(utt_id, item) for utt_id, item in zip(ids, normal, strict=True)]


def _hold_out_valid(
    entries: list[_Entry], root: Path, needed: Sequence[str], seed: int, valid_fraction: float
) -> list[_Entry]:
    counts = Counter(entry.recording.split for entry in entries)
    found = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    for split in needed:
        if split != "valid" and not counts[split]:
            raise CorpusError(f"{root}: no recordings in split {split!r} (found {found})")
    if counts["valid"]:
        return entries
    shares = {
        entry.utt_id: share_of(f"{seed}/{entry.utt_id}")
        for entry in entries
        if entry.recording.split == "train"
    }
    chosen = {utt_id for utt_id, share in shares.items() if share < valid_fraction}
    if valid_fraction > 0 and not chosen:
        chosen = {min(shares, key=lambda utt_id: shares[utt_id])}
    if not chosen or len(chosen) == len(shares):
        raise CorpusError(
            f"{root}: no recordings in split 'valid' and a share of {valid_fraction} of the "
            f"{len(shares)} in 'train' leaves one of both empty; list valid recordings or "
            "change valid_fraction"
        )
    return [
        replace(entry, recording=replace(entry.recording, split="valid"))
        if entry.utt_id in chosen
        else entry
        for entry in entries
    ]


def _probe_all(
    entries: Sequence[_Entry], root: Path, threads: int
) -> Iterator[tuple[_Entry, tuple[int, int] | AudioError]]:
    """Decode the recordings in parallel; results come in the order of the entries."""
    with ThreadPoolExecutor(threads) as pool:
        window: deque[Future[tuple[int, int] | AudioError]] = deque()
        ahead = iter(entries)
        for entry in progress(entries, "decode recordings", unit="file"):
            while len(window) < threads * PROBES_PER_THREAD and (following := next(ahead, None)):
                window.append(pool.submit(_probe, root / following.recording.path))
            yield entry, window.popleft().result()


def _probe(path: Path) -> tuple[int, int] | AudioError:
    try:
        return probe_audio(path)
    except AudioError as error:
        return error


def _judge_rejects(
    rejected: Sequence[tuple[str, str, str]],
    n_recordings: int,
    root: Path,
    out_dir: Path,
    max_rejected: float,
) -> None:
    """Stop where too many recordings are unusable; otherwise say how many were passed over."""
    report = out_dir / FAILED_REJECTS
    if len(rejected) <= max_rejected * n_recordings:
        report.unlink(missing_ok=True)
        if rejected:
            log(f"{root}: {len(rejected)} of {n_recordings} recordings rejected")
        return
    with atomic_path(report) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(REJECTS_SCHEMA.names)
        writer.writerows(rejected)
    raise CorpusError(
        f"{root}: {len(rejected)} of {n_recordings} recordings are unusable, more than "
        f"max_rejected = {max_rejected:g} allows; all are listed in {report}: "
        + some_of([f"{path} ({reason})" for path, _, reason in rejected])
    )


def _to_table(entries: Sequence[_Entry], schema: pa.Schema) -> pa.Table:
    columns: dict[str, list[object]] = {
        "utt_id": [entry.utt_id for entry in entries],
        "path": [entry.recording.path for entry in entries],
        "n_samples": [entry.n_samples for entry in entries],
        "sample_rate": [entry.sample_rate for entry in entries],
        "speaker": [entry.recording.speaker for entry in entries],
    }
    for name in schema.names[len(columns) :]:
        columns[name] = [entry.recording.labels[name] for entry in entries]
    return pa.table(columns, schema=schema)
