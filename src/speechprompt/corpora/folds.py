"""Folds of a prepared corpus by speaker, for cross-validation."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from speechprompt.corpora.manifest import SPLITS, hold_out_valid, read_root
from speechprompt.corpora.overlaps import judge_overlaps
from speechprompt.errors import CorpusError, some_of
from speechprompt.runtime.progress import log
from speechprompt.storage.parquet import metadata_of, read_parquet, write_parquet

__all__ = ["divide_speakers", "take_fold"]


def take_fold(
    manifests: Sequence[str | Path],
    out_dir: str | Path,
    *,
    fold: int,
    folds: int,
    seed: int,
    valid_fraction: float = 0.1,
    max_repeated: float = 1.0,
) -> dict[str, int]:
    """Write the manifests in which one fold of a corpus is test and all other rows are not.

    Of these, a share becomes valid: those with the smallest seeded hashes, as in a corpus that
    lists no valid recordings. Rows are in the order of their names, in which numbers count as
    numbers, so that it does not matter in which splits they were.

    Args:
        manifests: manifests of all splits of the corpus.
        out_dir: folder of the manifests.
        fold: number of the fold, from 1.
        folds: number of folds.
        seed: seed of the share that becomes valid.
        valid_fraction: share of what is not test that becomes valid, 0 to 1.
        max_repeated: largest share of valid, and of test, that may overlap with an earlier split in
            one long recording, 0 to 1.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: a row has no speaker, there are fewer speakers than folds, or a split is empty.
    """
    tables = [read_parquet(path) for path in manifests]
    rows = [row for table in tables for row in table.to_pylist()]
    corpus, out_dir = Path(manifests[0]).parent, Path(out_dir)
    if unknown := [row["utt_id"] for row in rows if row["speaker"] is None]:
        raise CorpusError(
            f"{corpus}: expected the speaker of every recording, to divide them into folds; "
            f"{len(unknown)} of {len(rows)} have none: {some_of(unknown)}"
        )
    tested = divide_speakers([row["speaker"] for row in rows], folds, str(corpus))[fold - 1]
    rows.sort(key=lambda row: _natural(row["utt_id"]))
    for row in rows:
        row["split"] = "test" if row["speaker"] in tested else "train"
    hold_out_valid(rows, corpus, SPLITS, seed, valid_fraction)
    kept = {split: [row for row in rows if row["split"] == split] for split in SPLITS}
    root = read_root(manifests[0])
    judge_overlaps(kept, root, max_repeated)
    stored = metadata_of(tables[0].schema)["root"]
    if not os.path.isabs(stored):
        stored = Path(os.path.relpath(root, out_dir)).as_posix()
    schema = tables[0].schema.with_metadata({"root": stored})
    for split, found in kept.items():
        write_parquet(out_dir / f"{split}.parquet", pa.Table.from_pylist(found, schema))
    counts = {split: len(found) for split, found in kept.items()}
    told = ", ".join(f"{split}: {count}" for split, count in counts.items())
    log(f"fold {fold} of {folds}, {some_of(sorted(tested))} in test; {told}")
    return counts


def divide_speakers(speakers: Sequence[str], folds: int, corpus: str = "") -> list[set[str]]:
    """Divide speakers into folds with about as many utterances.

    The speaker with most utterances goes first, each into the fold that has fewest. Folds are in
    the order of their first speakers' names.

    Args:
        speakers: speaker of each utterance.
        folds: number of folds.
        corpus: name of the corpus, for messages.

    Raises:
        CorpusError: there are fewer speakers than folds.
    """
    counts = Counter(speakers)
    if len(counts) < folds:
        raise CorpusError(
            f"{corpus}: expected at least {folds} speakers for as many folds, found {len(counts)} "
            f"({some_of(sorted(counts))}); lower `folds` of the task's `crossvalidate`"
        )
    parts, sizes = [set[str]() for _ in range(folds)], [0] * folds
    for speaker in sorted(counts, key=lambda name: (-counts[name], name)):
        smallest = sizes.index(min(sizes))
        parts[smallest].add(speaker)
        sizes[smallest] += counts[speaker]
    return sorted(parts, key=min)


def _natural(name: str) -> tuple[list[Any], str]:
    """A key that sorts ``a2`` before ``a10``; texts and numbers alternate, so that both compare."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
