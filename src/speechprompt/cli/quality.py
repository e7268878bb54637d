"""Verbs that measure units by the phones of synthetic speech."""

from __future__ import annotations

import argparse

from speechprompt.cli.verb import verb
from speechprompt.config.corpora import SyntheticCorpus


@verb(
    files={
        "manifest": "manifest of the split",
        "--root": "folder of the synthetic corpus",
        "--out": "alignments to write (Parquet)",
    },
    threads=True,
    block=SyntheticCorpus,
    seed=True,
)
def align_phones(a: argparse.Namespace, corpus: SyntheticCorpus) -> None:
    """Write where the phones of a synthetic corpus are, as eSpeak NG itself says."""
    from speechprompt.corpora.synthetic.alignments import align_phones

    align_phones(
        corpus.task,
        a.root,
        a.manifest,
        a.out,
        seed=a.seed,
        n_train=corpus.n_train,
        n_valid=corpus.n_valid,
        n_test=corpus.n_test,
        processes=a.compute_threads,
    )
