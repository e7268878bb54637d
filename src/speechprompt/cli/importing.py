"""Verbs that bring models in: published ones are imported, others taken as they are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechprompt.cli.verb import verb

if TYPE_CHECKING:
    from speechprompt.units.frames import FeatureMetadata

CHECKS = {
    "--sha256": {"metavar": "SUM", "help": "the sum that the imported file must have"},
    "--trust": {
        "action": "store_true",
        "help": "run whatever code the imported pickle holds; only for a file of your own",
    },
}

ENCODER = {
    "--encoder": {
        "required": True,
        "metavar": "JSON",
        "type": json.loads,
        "help": "settings of the encoder that it was fitted on, such as "
        '{"kind": "hubert", "weights": "hubert.safetensors", "layer": 6}',
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
    from speechprompt.models.importing.hubert import import_hubert

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
    from speechprompt.models.importing.cpc import import_cpc

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
    from speechprompt.models.importing.unit_lm import import_unit_lm
    from speechprompt.storage.hashes import sha256_file

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
    options=ENCODER | CHECKS,
)
def import_codebook(a: argparse.Namespace) -> None:
    """Import a published k-means codebook."""
    from speechprompt.models.importing.codebook import import_codebook

    features = _features_of(a.encoder)
    import_codebook(a.kmeans, a.out, features=features, sha256=a.sha256, trust=a.trust)


@verb(files={"--out": "file to write"}, options={"model": {"help": "name of the model"}})
def copy_shipped(a: argparse.Namespace) -> None:
    """Verify a model that comes with the package, and copy it."""
    from speechprompt.models.shipped import shipped_model
    from speechprompt.storage.files import copy_file

    copy_file(shipped_model(a.model), a.out)


@verb(
    files={"codebook": "codebook that this package wrote", "--out": "the same, to write"},
    options=ENCODER,
)
def take_codebook(a: argparse.Namespace) -> None:
    """Check that a codebook belongs to an encoder, and copy it."""
    from speechprompt.storage.files import copy_file
    from speechprompt.units.codebook import check_codebook, load_codebook

    check_codebook(load_codebook(a.codebook), _features_of(a.encoder), "the encoder")
    copy_file(a.codebook, a.out)


@verb(
    files={
        "unit_lm": "unit LM that this package wrote",
        "--codebook": "codebook whose units it reads",
        "--out": "the same, to write",
    },
)
def take_unit_lm(a: argparse.Namespace) -> None:
    """Check that a unit LM reads the units of a codebook, and copy it."""
    from speechprompt.lm import load_lm
    from speechprompt.storage.files import copy_file
    from speechprompt.storage.hashes import sha256_file

    load_lm(a.unit_lm, sha256_file(a.codebook))
    copy_file(a.unit_lm, a.out)


def _features_of(settings: dict[str, Any]) -> FeatureMetadata:
    """What an encoder's features say about it."""
    from speechprompt.encoders import load_encoder
    from speechprompt.units.frames import FeatureMetadata

    return FeatureMetadata.of(load_encoder(**settings))


def _count_units(codebook: Path) -> int:
    """K of a codebook, or of the dictionary that stands for one."""
    if codebook.suffix == ".txt":
        from speechprompt.lm import Dictionary

        return Dictionary.read(codebook).n_units
    from speechprompt.units.codebook import load_codebook

    return load_codebook(codebook).n_units
