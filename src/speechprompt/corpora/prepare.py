"""From a corpus to its manifests, whatever kind it is of."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from speechprompt.config.corpora import Corpus
from speechprompt.corpora.manifest import write_manifests
from speechprompt.corpora.registry import listing_module

__all__ = ["prepare_corpus"]


def prepare_corpus(
    corpus: Corpus,
    root: str | Path,
    out_dir: str | Path,
    *,
    seed: int,
    max_rejected: float = 0.01,
    threads: int = 1,
) -> dict[str, int]:
    """List the recordings of a corpus, check each, and write the manifests of its splits.

    Args:
        corpus: settings of the corpus.
        root: folder of the corpus, which the manifests' paths start from.
        out_dir: folder of the manifests.
        seed: of whatever is drawn: a share taken as valid, crops of silence.
        max_rejected: largest share of unusable recordings that is passed over, 0 to 1.
        threads: recordings decoded at a time.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: the corpus is not as its module describes, or as for
            :func:`~speechprompt.corpora.manifest.write_manifests`.
    """
    module = import_module(f"speechprompt.{listing_module(corpus.kind)}")
    listing = module.list_recordings(corpus, Path(root), seed)
    return write_manifests(
        listing, root, out_dir, seed=seed, max_rejected=max_rejected, threads=threads
    )
