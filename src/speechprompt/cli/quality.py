"""Verbs that measure units by the phones of synthetic speech."""

from __future__ import annotations

import argparse

from speechprompt.cli.verb import verb
from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.runtime.progress import log


@verb(
    files={
        "manifest": "manifest of the split",
        "--out": "alignments to write (Parquet)",
    },
    threads=True,
    settings=SyntheticCorpus,
    seed=True,
)
def align_phones(a: argparse.Namespace, corpus: SyntheticCorpus) -> None:
    """Write where the phones of a synthetic corpus are, as eSpeak NG itself says."""
    from speechprompt.corpora.synthetic.alignments import align_phones

    align_phones(corpus, a.manifest, a.out, seed=a.seed, processes=a.compute_threads)


@verb(
    files={
        "index": "index.json of the split's units",
        "--alignments": "phones of the same utterances",
        "--out": "JSON file to write",
    },
    options={"--encoder": {"help": "name of the encoder (default: its kind)"}},
)
def measure_units(a: argparse.Namespace) -> None:
    """Measure phone purity, cluster purity and PNMI of a codebook's units."""
    from speechprompt.evaluation.phone_quality import measure_units

    quality = measure_units(a.index, a.alignments, a.out, encoder=a.encoder)
    for frames, scores in quality.frames.items():
        values = ", ".join(f"{name} {100 * score.value:.2f} %" for name, score in scores.items())
        log(f"{quality.codebook}, {frames} frames: {values}")


@verb(
    files={
        "measured": "JSON files of measure-units, the codebook to compare others with first",
        "--out": "table to write, .md; the numbers go beside it as Parquet",
        "--picture": "picture to write",
    },
    many=("measured",),
)
def compare_quality(a: argparse.Namespace) -> None:
    """Set the quality of codebooks side by side, as a table and a picture."""
    from speechprompt.report.pictures import plot_unit_quality
    from speechprompt.report.quality_table import compare_quality

    table = compare_quality(a.measured, a.out, a.out.with_suffix(".parquet"))
    plot_unit_quality(table, a.picture, "Units against phones")
