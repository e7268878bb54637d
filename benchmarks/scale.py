"""Cost of encoding and scheduling by number of utterances: ``python -m benchmarks.scale``.

Encodes corpora of growing size with the pipeline's own verbs, plans the pipeline for growing
manifests and shard counts, and times the jobs of a split in one shard and in many. Lengths are
drawn from a log-normal distribution (median 0.9 s, 0.3 to 8 s), as spoken commands have them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.storage.files import write_json

__all__ = ["main"]

DISTINCT = 400  # recordings; a larger corpus names them again
REPOSITORY = Path(__file__).parents[1]
LAUNCHER = """
import resource, subprocess, sys, time
begin = time.monotonic()
status = subprocess.call(sys.argv[1:])
print()
print(time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
SETUP = {
    "corpora": {"c": {"kind": "csv", "table": "corpus/table.csv"}},
    "encoders": {"nano": {"kind": "hubert", "weights": "hubert-nano.safetensors", "layer": 4}},
    "codebooks": {"nano100": {"encoder": "nano", "weights": "hubert-nano-100.safetensors"}},
    "lm": {"nano": {"codebook": "nano100", "weights": "unit-lm-nano.safetensors"}},
    "tasks": {"t": {"corpus": "c", "lm": "nano", "labels": ["label"]}},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write ``scale.json`` and ``scale.png``."""
    options = _parser().parse_args(arguments)
    out = Path(options.out).resolve()
    seconds = _write_corpus(out / "corpus")
    result: dict[str, Any] = {"encoding": [], "planning": [], "shards": []}
    for n in options.utterances:
        result["encoding"].append(_encode(out, n, seconds))
        _log(result["encoding"][-1])
    for n in options.plans:
        for shards in options.shards:
            result["planning"].append(_plan(out, n, shards))
            _log(result["planning"][-1])
    for shards in options.shards:
        result["shards"].append(_run_shards(out, options.sharded, shards, options.cores))
        _log(result["shards"][-1])
    write_json(out / "scale.json", result)
    _draw(result["encoding"], out / "scale.png")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    numbers: dict[str, Any] = {"type": int, "nargs": "+", "metavar": "N"}
    parser.add_argument("--utterances", **numbers, default=[1000, 5000, 20000], help="encoded")
    parser.add_argument("--plans", **numbers, default=[1000, 10000, 100000], help="only planned")
    parser.add_argument("--shards", **numbers, default=[1, 16, 64], help="parts of a split")
    parser.add_argument("--sharded", type=int, default=2000, help="utterances run in shards")
    parser.add_argument("--cores", type=int, default=2, help="cores for the shards (default 2)")
    parser.add_argument("--out", default="runs/scale", metavar="FOLDER", help="of everything")
    return parser


def _write_corpus(folder: Path) -> np.ndarray:
    """Write recordings of synthetic speech, 16 kHz FLAC; return their lengths in seconds."""
    import soundfile

    from benchmarks.audio import make_recordings
    from speechprompt.audio.reading import SAMPLE_RATE

    rng = np.random.default_rng(1)
    seconds = np.exp(rng.normal(np.log(0.9), 0.5, DISTINCT)).clip(0.3, 8.0)
    speech = np.concatenate([r.numpy() for r in make_recordings("ks", int(seconds.sum()) + 9)])
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for i, length in enumerate((seconds * SAMPLE_RATE).astype(int)):
        soundfile.write(folder / f"{i:04d}.flac", speech[start : start + length], SAMPLE_RATE)
        start += length
    return seconds


def _encode(out: Path, n: int, seconds: np.ndarray) -> dict[str, Any]:
    """Run the pipeline's verbs on one shard of ``n`` utterances."""
    import pyarrow as pa
    import soundfile

    from speechprompt.corpora.manifest import manifest_schema
    from speechprompt.storage.parquet import write_parquet

    folder = out / f"encode-{n}"
    chosen = [i % DISTINCT for i in range(n)]
    samples = [soundfile.info(out / "corpus" / f"{i:04d}.flac").frames for i in range(DISTINCT)]
    columns = {
        "utt_id": [f"u{i:07d}" for i in range(n)],
        "path": [f"{i:04d}.flac" for i in chosen],
        "n_samples": [samples[i] for i in chosen],
        "sample_rate": [16000] * n,
        "speaker": [None] * n,
        "label": ["a"] * n,
    }
    manifest, features, units = (folder / f"{name}.parquet" for name in ("m", "features", "units"))
    schema = manifest_schema(["label"], root=str(out / "corpus"))
    write_parquet(manifest, pa.table(columns, schema=schema))
    models = REPOSITORY / "src/speechprompt/models/shipped"
    encoder = {"kind": "hubert", "layer": 4, "weights": str(models / "hubert-nano.safetensors")}
    # The codebook as the pipeline has it, with the encoder's settings in its metadata.
    codebook = folder / "codebook.safetensors"
    _verb(
        *("take-codebook", models / "hubert-nano-100.safetensors"),
        *("--encoder", json.dumps(encoder), "--out", codebook),
    )
    encoded = _verb(
        *("extract-features", "--manifest", manifest),
        *("--encoder", json.dumps(encoder), "--out", features),
    )
    quantised = _verb(
        *("quantize-units", "--features", features, "--manifest", manifest),
        *("--codebook", codebook, "--out", units),
    )
    result = {
        "utterances": n,
        "audio_seconds": float(sum(seconds[i] for i in chosen)),
        "encode_seconds": encoded["seconds"],
        "encode_mb": encoded["mb"],
        "quantize_seconds": quantised["seconds"],
        "quantize_mb": quantised["mb"],
        "features_mb": features.stat().st_size / 1e6,
        "units_mb": units.stat().st_size / 1e6,
    }
    features.unlink()
    return result


def _plan(out: Path, n: int, shards: int) -> dict[str, Any]:
    """Plan jobs for a table of ``n`` recordings."""
    folder = _setup(out / "plan", n, shards)
    done = _snakemake(folder, "--dry-run", "results/t/acc.txt")
    jobs = [line.split()[-1] for line in done["text"].splitlines() if line.startswith("total")]
    return {
        "utterances": n,
        "shards": shards,
        "jobs": int(jobs[0]),
        "seconds": done["seconds"],
        "mb": done["mb"],
    }


def _run_shards(out: Path, n: int, shards: int, cores: int) -> dict[str, Any]:
    """Compute the units of a train split of ``n`` recordings from its manifest."""
    folder = _setup(out / "shards", n, shards)
    target = "results/units/nano100/c/train/index.json"
    for name in ("results", ".snakemake", "logs", "benchmarks"):
        shutil.rmtree(folder / name, ignore_errors=True)
    _snakemake(folder, "--cores", str(cores), "results/manifests/c/train.parquet")
    done = _snakemake(folder, "--cores", str(cores), target)
    busy = sum(
        float(path.read_text().splitlines()[1].split("\t")[0])
        for rule in ("extract_features", "quantize_units", "gather_units")
        for path in (folder / "benchmarks" / rule).glob("*.tsv")
    )
    return {
        "utterances": n,
        "shards": shards,
        "cores": cores,
        "seconds": done["seconds"],
        "job_seconds": busy,
    }


def _setup(folder: Path, n: int, shards: int) -> Path:
    """Make a run's folder with a corpus of ``n`` train rows and one row of valid and test."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    lines = ["path,split,label"]
    for i, split in enumerate(["train"] * n + ["valid", "test"]):
        target = corpus / f"{i:07d}.flac"
        if n <= 10_000 and not target.exists():
            target.symlink_to(folder.parent / "corpus" / f"{i % DISTINCT:04d}.flac")
        lines.append(f"{target.name},{split},{'ab'[i % 2]}")
    (corpus / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(folder / "setup.json", SETUP | {"shards": shards})
    return folder


def _verb(*words: str | Path) -> dict[str, Any]:
    environment = os.environ | {"SPEECHPROMPT_COMPUTE_THREADS": "1", "SPEECHPROMPT_DEVICE": "cpu"}
    return _timed([shutil.which("speechprompt") or "speechprompt", *map(str, words)], environment)


def _snakemake(folder: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "snakemake"]
    command += ["--snakefile", str(REPOSITORY / "workflow/Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / "setup.json"), *words]
    return _timed(command, dict(os.environ))


def _timed(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run a command; return its wall time, the peak memory of its largest process, its output."""
    # A small process starts it, because a child's peak includes the memory of its parent.
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}")
    text, _, last = done.stdout.rstrip().rpartition("\n")
    seconds, kilobytes = last.split()
    return {"seconds": round(float(seconds), 2), "mb": int(kilobytes) / 1e3, "text": text}


def _draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n = [row["utterances"] / 1000 for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for axis, kind, label in zip(
        axes, ("seconds", "mb"), ("time on one core (s)", "peak memory (MB)"), strict=True
    ):
        for stage, style in (("encode", "o-"), ("quantize", "s--")):
            colour = "#0072B2" if stage == "encode" else "#D55E00"
            values = [row[f"{stage}_{kind}"] for row in rows]
            axis.plot(n, values, style, color=colour, label=stage)
        axis.set(xlabel="utterances (thousands)", ylabel=label, xlim=0, ylim=0)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _log(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
