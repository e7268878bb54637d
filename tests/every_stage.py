"""A small run of which every stage has a file, made by the package without Snakemake."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from small_run import record, write_run
from speechprompt.config.corpora import CsvCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.encoders import load_encoder
from speechprompt.evaluation.predictions import write_predictions
from speechprompt.evaluation.scores import write_metrics
from speechprompt.units.codebook import fit_codebook
from speechprompt.units.extraction import extract_features, sample_frames
from speechprompt.units.quantization import quantize_units
from speechprompt.units.unit_files import gather_units

N_RECORDINGS = 12
SPLIT = "results/units/book/mine/train"


def write_every_stage(folder: Path) -> Path:
    """Every stage up to the units, a finished task, predictions and metrics."""
    folder = write_run(folder, tasks=["ks"])
    results, corpus = folder / "results", folder / "resources/corpora/mine"
    rows = []
    for start, split, count in ((0, "train", N_RECORDINGS), (50, "valid", 2), (60, "test", 2)):
        for i, path in enumerate(record(corpus / "audio", count, start=start)):
            label = "yes" if i % 2 else "no"
            rows.append({"path": f"audio/{path.name}", "split": split, "label": label})
    pd.DataFrame(rows).to_csv(corpus / "corpus.csv", index=False)
    settings = CsvCorpus(table=str(corpus / "corpus.csv"))
    prepare_corpus(settings, corpus, results / "manifests/mine", seed=1)
    manifest = results / "manifests/mine/train.parquet"
    features = [results / f"features/mfcc/mine/train/part-{i}.parquet" for i in range(2)]
    for shard, path in enumerate(features):
        encoder = load_encoder("mfcc")
        extract_features(manifest, encoder, path, shard=shard, n_shards=2)
    sample = results / "features/mfcc/sample.parquet"
    sample_frames(features, sample, n_frames=150, seed=1)
    book = results / "codebooks/book.safetensors"
    fit_codebook(sample, book, n_units=10, seed=1)
    parts = [folder / SPLIT / f"part-0000{i}-of-00002.parquet" for i in range(2)]
    for path, part in zip(features, parts, strict=True):
        quantize_units(path, manifest, book, part)
    gather_units(parts, folder / SPLIT / "index.json", corpus="mine", split="train")
    names = pq.read_table(manifest)["utt_id"].to_pylist()
    write_predictions(
        results / "ks/predictions.parquet",
        {
            "train": {
                "utt_id": names,
                "reference": ["yes"] * len(names),
                "prediction": ["no", *["yes"] * (len(names) - 1)],
                "score": np.log(np.full(len(names), 0.5)),
                "is_repeat": [False] * len(names),
            }
        },
        task_type="classification",
        columns=["label"],
        method="prompt",
    )
    write_metrics(
        results / "ks/metrics.json",
        [results / "ks/predictions.parquet"],
        task="ks",
        method="prompt",
    )
    return folder
