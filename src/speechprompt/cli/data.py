"""Verbs from the corpus to the unit shards."""

from __future__ import annotations

import argparse
import json

from speechprompt.cli.verb import boolean, verb
from speechprompt.config.corpora import AnyCorpus, Corpus, SyntheticCorpus, UnitsCorpus
from speechprompt.runtime.progress import log


@verb(
    files={"--out": "folder for the recordings and corpus.csv"},
    threads=True,
    settings=SyntheticCorpus,
    seed=True,
)
def synthesise_corpus(a: argparse.Namespace, corpus: SyntheticCorpus) -> None:
    """Speak a synthetic corpus with eSpeak NG."""
    from speechprompt.corpora.synthetic import synthesise

    synthesise(corpus, a.out, seed=a.seed, processes=a.compute_threads)


@verb(
    files={"root": "folder of the corpus", "--out": "folder for the manifests"},
    options={
        "--max-rejected": {
            "type": float,
            "default": 0.01,
            "metavar": "SHARE",
            "help": "share of unreadable recordings tolerated (default: 0.01)",
        }
    },
    threads=True,
    settings=AnyCorpus,
    seed=True,
)
def prepare_corpus(a: argparse.Namespace, corpus: Corpus) -> None:
    """Check the recordings of a corpus and write its manifests."""
    from speechprompt.corpora.prepare import prepare_corpus

    counts = prepare_corpus(
        corpus,
        a.root,
        a.out,
        seed=a.seed,
        max_rejected=a.max_rejected,
        threads=a.compute_threads,
    )
    _report(counts)


@verb(
    files={
        "--dictionary": "dict.txt that lists the units",
        "--out": "units file of the split to write",
    },
    options={"--split": {"required": True, "choices": ("train", "dev", "valid", "test")}},
    settings=UnitsCorpus,
)
def prepare_units(a: argparse.Namespace, corpus: UnitsCorpus) -> None:
    """Turn lines of ready units and labels into a units file."""
    from speechprompt.units.text_corpus import prepare_units

    prepare_units(a.split, a.out, corpus, dictionary=a.dictionary)


@verb(files={"manifests": "folder of manifests"})
def validate_corpus(a: argparse.Namespace) -> None:
    """Check manifests against their recordings: schema, ids, splits, files."""
    from speechprompt.corpora.validate import validate

    _report(validate(a.manifests))


def _report(counts: dict[str, int]) -> None:
    """Log the utterances of each split."""
    log(", ".join(f"{name}: {count}" for name, count in counts.items()))


def _has_network(a: argparse.Namespace) -> bool:
    """Whether the encoder is a neural network; the others are not worth an accelerator."""
    return "weights" in a.encoder


def _shard(text: str) -> tuple[int, int]:
    shard, _, n_shards = text.partition("/")
    if not (shard.isdigit() and n_shards.isdigit() and int(shard) < int(n_shards)):
        raise argparse.ArgumentTypeError(f"expected SHARD/SHARDS such as 0/4, found {text!r}")
    return int(shard), int(n_shards)


@verb(
    files={
        "--manifest": "manifest of the split",
        "--out": "features file to write",
    },
    options={
        "--encoder": {
            "required": True,
            "metavar": "JSON",
            "type": json.loads,
            "help": 'the encoder\'s settings, such as {"kind": "mfcc", "cmvn": true}',
        },
        "--shard": {
            "type": _shard,
            "default": (0, 1),
            "help": "which part of how many, from 0 (default: 0/1)",
        },
    },
    compute=_has_network,
)
def extract_features(a: argparse.Namespace) -> None:
    """Encode one shard of a manifest."""
    from speechprompt.encoders import load_encoder
    from speechprompt.units.extraction import extract_features

    encoder = load_encoder(**a.encoder, device=a.device)
    shard, n_shards = a.shard
    extract_features(a.manifest, encoder, a.out, shard=shard, n_shards=n_shards)


@verb(
    files={"features": "features files, in order", "--out": "sample to write"},
    many=("features",),
    options={"--frames": {"type": int, "required": True, "help": "size of the sample"}},
    seed=True,
)
def sample_frames(a: argparse.Namespace) -> None:
    """Draw frames, evenly over all, for fitting codebooks."""
    from speechprompt.units.extraction import sample_frames

    sample_frames(a.features, a.out, n_frames=a.frames, seed=a.seed)


@verb(
    files={"--sample": "frames to fit on", "--out": "codebook to write"},
    options={"--n-units": {"type": int, "required": True, "help": "number of centroids"}},
    seed=True,
)
def fit_codebook(a: argparse.Namespace) -> None:
    """Fit a k-means codebook."""
    from speechprompt.units.codebook import fit_codebook

    fit_codebook(a.sample, a.out, n_units=a.n_units, seed=a.seed)


@verb(
    files={
        "--features": "features file",
        "--manifest": "manifest of the split",
        "--codebook": "codebook",
        "--out": "units file to write",
    },
    options={"--deduplicate": {"type": boolean, "default": True, "help": "default: true"}},
)
def quantize_units(a: argparse.Namespace) -> None:
    """Assign every frame to its nearest centroid and collapse repeats."""
    from speechprompt.units.quantization import quantize_units

    quantize_units(a.features, a.manifest, a.codebook, a.out, dedup=a.deduplicate)


@verb(
    files={
        "parts": "units files of the split, in order",
        "--manifest": "manifest of the split, to check that none is missing",
        "--out": "index.json to write",
    },
    many=("parts",),
    optional=("--manifest",),
    options={
        "--corpus": {"required": True, "help": "name of the corpus"},
        "--split": {"required": True, "help": "name of the split"},
    },
)
def gather_units(a: argparse.Namespace) -> None:
    """Check the parts of a split and list them in its index."""
    from speechprompt.units.unit_files import write_index

    write_index(a.parts, a.out, corpus=a.corpus, split=a.split, manifest_path=a.manifest)


@verb(
    files={
        "ours": "index.json, units file (Parquet), or text lines `file|units`",
        "reference": "likewise",
    },
    options={"--shown": {"type": int, "default": 5, "help": "differences to show (default: 5)"}},
)
def compare_units(a: argparse.Namespace) -> None:
    """Compare units with others of the same recordings: agreement, error rate, differences."""
    from speechprompt.units.comparison import compare_units, describe_comparison

    print(describe_comparison(compare_units(a.ours, a.reference, a.shown)))
