"""Verbs that import published models, each once."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from speechprompt.cli.verb import verb

CHECKS = {
    "--sha256": {"metavar": "SUM", "help": "the sum that the imported file must have"},
    "--trust": {
        "action": "store_true",
        "help": "run whatever code the imported pickle holds; only for a file of your own",
    },
}


@verb(
    files={
        "checkpoint": "fairseq's HuBERT (hubert_base_ls960.pt), pre-trained or fine-tuned with "
        "CTC, or torchaudio's (hubert_fairseq_base_ls960.pth)",
        "--out": "safetensors file to write, for `weights` of an encoder of kind hubert",
    },
    options=CHECKS,
)
def import_hubert(a: argparse.Namespace) -> None:
    """Import a published HuBERT."""
    from speechprompt.importing.hubert import import_hubert

    import_hubert(a.checkpoint, a.out, sha256=a.sha256, trust=a.trust)


@verb(
    files={
        "checkpoint": "CPC checkpoint of GSLM (cpc_big_ll6kh_top_ctc.pt)",
        "--out": "safetensors file to write, for `weights` of an encoder of kind cpc",
    },
    options=CHECKS,
)
def import_cpc(a: argparse.Namespace) -> None:
    """Import a published CPC encoder."""
    from speechprompt.importing.cpc import import_cpc

    import_cpc(a.checkpoint, a.out, sha256=a.sha256, trust=a.trust)


@verb(
    files={
        "source": "archive with checkpoint_best.pt and dict.txt (hubert100_lm.tgz), or a "
        "checkpoint, given its --dictionary",
        "--dictionary": "dict.txt of a checkpoint that is in no archive",
        "--codebook": "codebook whose units the LM reads; for ready units the dict.txt that is "
        "their codebook",
        "--out": "unit LM to write",
    },
    optional=("--dictionary",),
    options=CHECKS,
)
def import_unit_lm(a: argparse.Namespace) -> None:
    """Import a unit LM that fairseq trained."""
    from speechprompt.files import sha256_file
    from speechprompt.importing.unit_lm import import_unit_lm

    n_units = _count_units(a.codebook)
    import_unit_lm(
        a.source,
        a.out,
        codebook_sha256=sha256_file(a.codebook),
        n_units=n_units,
        dictionary=a.dictionary,
        sha256=a.sha256,
        trust=a.trust,
    )


@verb(
    files={
        "kmeans": "scikit-learn's k-means model, written by joblib (km.bin)",
        "--out": "codebook to write",
    },
    options={
        "--encoder": {
            "required": True,
            "metavar": "JSON",
            "type": json.loads,
            "help": "settings of the encoder that it was fitted on, such as "
            '{"kind": "hubert", "weights": "hubert.safetensors", "layer": 6}',
        },
        **CHECKS,
    },
)
def import_codebook(a: argparse.Namespace) -> None:
    """Import a published k-means codebook."""
    from speechprompt.encoders import load_encoder
    from speechprompt.frames import FeatureMetadata
    from speechprompt.importing.codebook import import_codebook

    settings = {key: value for key, value in a.encoder.items() if key != "batch_seconds"}
    features = FeatureMetadata.of(load_encoder(**settings))
    import_codebook(a.kmeans, a.out, features=features, sha256=a.sha256, trust=a.trust)


def _count_units(codebook: Path) -> int:
    """K of a codebook, or of the dictionary that stands for one."""
    if codebook.suffix == ".txt":
        from speechprompt.lm import Dictionary

        return Dictionary.read(codebook).n_units
    from speechprompt.codebook import load_codebook

    return load_codebook(codebook).n_units
