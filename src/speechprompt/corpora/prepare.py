"""Preparing a corpus of any kind: listing its recordings and writing its manifests.

The module of a kind has a function ``list_recordings(corpus, root, seed)``, which returns a
:class:`~speechprompt.corpora.manifest.Listing`. Its arguments are the settings of the corpus, the
folder that the recordings' paths are relative to, and a seed for what the module draws, if it draws
anything. It raises a CorpusError if the corpus is not as the module describes it. The module of a
:class:`~speechprompt.config.corpora.ListedCorpus` also says what the plan of a run asks for:
``listing_files``, ``recording_files`` and ``label_columns_of``.
"""

import json
from importlib import import_module
from pathlib import Path

from speechprompt.config.corpora import AnyCorpus, CsvCorpus
from speechprompt.config.values import block_from_value
from speechprompt.corpora.manifest import write_manifests
from speechprompt.corpora.registry import listing_module
from speechprompt.runtime.progress import log

__all__ = ["prepare_corpus", "prepare_csv"]


def prepare_corpus(
    corpus: AnyCorpus,
    root: str | Path,
    out_dir: str | Path,
    *,
    seed: int,
    max_rejected: float = 0.01,
    max_repeated: float = 1.0,
    threads: int = 1,
    made: str | Path | None = None,
) -> dict[str, int]:
    """List the recordings of a corpus, decode each, and write the manifests of its splits.

    Args:
        corpus: settings of the corpus.
        root: folder of the corpus, which the manifests' paths are relative to.
        out_dir: folder of the manifests.
        seed: seed of the share that becomes ``valid``, and of crops of silence.
        max_rejected: largest share of unusable recordings that may be left out, 0 to 1.
        max_repeated: largest share of valid, and of test, that may have the same samples as
            recordings of an earlier split, 0 to 1.
        threads: number of recordings that are decoded at a time.
        made: folder for recordings that are the output of commands, as in Kaldi's lists.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: the corpus is not as its module describes it, or for a reason of
            :func:`~speechprompt.corpora.manifest.write_manifests`.
    """
    module = import_module(f"speechprompt.{listing_module(corpus.kind)}")
    if made is None:
        listing = module.list_recordings(corpus, Path(root), seed)
    else:
        listing = module.list_recordings(corpus, Path(root), seed, Path(made))
    counts = write_manifests(
        listing,
        root,
        out_dir,
        seed=seed,
        max_rejected=max_rejected,
        max_repeated=max_repeated,
        threads=threads,
    )
    log(", ".join(f"{split}: {count}" for split, count in counts.items()))
    return counts


def prepare_csv(
    table: str | Path,
    out_dir: str | Path,
    *,
    valid_fraction: float = 0.1,
    max_rejected: float = 0.01,
    max_repeated: float = 1.0,
    seed: int = 1,
    threads: int = 1,
) -> dict[str, int]:
    """Do :func:`prepare_corpus` for the user's own recordings, which a table lists.

    Args:
        table: CSV or TSV file with the columns path, split, optionally speaker, then labels; paths
            are relative to its folder.
        out_dir: folder of the manifests.
        valid_fraction: share of train that becomes valid if the table has no valid rows.
        max_rejected: largest share of unusable recordings that may be left out, 0 to 1.
        max_repeated: largest share of valid, and of test, that may have the same samples as
            recordings of an earlier split, 0 to 1.
        seed: seed of the share that becomes valid.
        threads: number of recordings that are decoded at a time.

    Returns:
        Utterances per split.

    Raises:
        ConfigError: ``valid_fraction`` is not between 0 and 1.
        CorpusError: for a reason of :func:`prepare_corpus`.
    """
    settings = {"kind": "csv", "table": str(table), "valid_fraction": valid_fraction}
    corpus = block_from_value(json.dumps(settings), CsvCorpus, "--table")
    return prepare_corpus(
        corpus,
        Path(table).parent,
        out_dir,
        seed=seed,
        max_rejected=max_rejected,
        max_repeated=max_repeated,
        threads=threads,
    )
