"""Results of a method over its seeds, and what is published of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.scores import Metrics, write_metrics
from speechprompt.storage.files import copy_file, read_json, write_text

__all__ = ["publish", "write_summary"]

# What a seed's training wrote, by its name in ``hashes``.
TRAINED = {"prompt": "prompt.safetensors", "model": "model.safetensors"}


def write_summary(
    path: str | Path, folders: Sequence[str | Path], baselines: Sequence[str | Path] = ()
) -> Metrics:
    """Summarise a method's seeds, each a folder with predictions.parquet and metrics.json."""
    folders = [Path(folder) for folder in folders]
    each = [Metrics.model_validate(read_json(folder / "metrics.json")) for folder in folders]
    seeds = [seed for entry in each for seed in entry.seeds]
    (own,) = TRAINED.keys() & each[0].hashes.keys()
    shared = {key: value for key, value in each[0].hashes.items() if key != own}
    trained = {f"{own}_seed_{s}": e.hashes[own] for s, e in zip(seeds, each, strict=True)}
    return write_metrics(
        path,
        [folder / "predictions.parquet" for folder in folders],
        task=each[0].task,
        method=each[0].method,
        baselines=baselines,
        trainable_parameters=each[0].trainable_parameters,
        seeds=seeds,
        per_seed={str(s): e.main.value for s, e in zip(seeds, each, strict=True)},
        hashes=shared | trained,
    )


def publish(folder: str | Path, summary: str | Path, score_file: str | Path) -> Metrics:
    """Publish a task: what a seed trained, its predictions, the summary, the score in percent.

    Args:
        folder: the seed's folder.
        summary: metrics.json over the seeds, of any folder.
        score_file: the score, two decimals; the rest goes beside it.

    Raises:
        ArtefactError: the folder holds nothing trained.
    """
    folder, out = Path(folder), Path(score_file).parent
    trained = next((folder / name for name in TRAINED.values() if (folder / name).exists()), None)
    if trained is None:
        raise ArtefactError(f"{folder}: expected {' or '.join(TRAINED.values())}, found neither")
    for source in (trained, folder / "predictions.parquet", Path(summary)):
        copy_file(source, out / source.name)
    metrics = Metrics.model_validate(read_json(summary))
    write_text(score_file, f"{100 * metrics.main.value:.2f}\n")
    return metrics
