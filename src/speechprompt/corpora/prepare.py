"""Preparing a corpus of any kind: listing its recordings and writing its manifests.

The module of a kind has a function ``list_recordings(corpus, root, seed)``, which returns a
:class:`~speechprompt.corpora.manifest.Listing`. Its arguments are the settings of the corpus, the
folder that the recordings' paths are relative to, and a seed for what the module draws, if it draws
anything. It raises a CorpusError if the corpus is not as the module describes it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from speechprompt.config.corpora import AnyCorpus
from speechprompt.corpora.manifest import write_manifests
from speechprompt.corpora.registry import listing_module

__all__ = ["prepare_corpus"]


def prepare_corpus(
    corpus: AnyCorpus,
    root: str | Path,
    out_dir: str | Path,
    *,
    seed: int,
    max_rejected: float = 0.01,
    threads: int = 1,
) -> dict[str, int]:
    """List the recordings of a corpus, decode each, and write the manifests of its splits.

    Args:
        corpus: settings of the corpus.
        root: folder of the corpus, which the manifests' paths are relative to.
        out_dir: folder of the manifests.
        seed: seed of the share that becomes ``valid``, and of crops of silence.
        max_rejected: see :func:`~speechprompt.corpora.manifest.write_manifests`.
        threads: number of recordings that are decoded at a time.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: the corpus is not as its module describes it, or for a reason of
            :func:`~speechprompt.corpora.manifest.write_manifests`.
    """
    module = import_module(f"speechprompt.{listing_module(corpus.kind)}")
    listing = module.list_recordings(corpus, Path(root), seed)
    return write_manifests(
        listing, root, out_dir, seed=seed, max_rejected=max_rejected, threads=threads
    )
