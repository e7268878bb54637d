"""Results of a method over its seeds, and the files of the finished task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.scores import Metrics, describe, write_metrics
from speechprompt.runtime.progress import log
from speechprompt.storage.files import copy_file, read_json, write_text

__all__ = ["finish_task", "summarise_seeds"]

# What a seed's training wrote, by its name in ``hashes``.
TRAINED = {"prompt": "prompt.safetensors", "model": "model.safetensors"}


def summarise_seeds(
    folders: Sequence[str | Path], out: str | Path, baseline: str | Path | None = None
) -> Metrics:
    """Score a method over its seeds.

    Args:
        folders: folder of each seed, in order, with predictions.parquet and metrics.json.
        out: metrics.json to write.
        baseline: predictions of the baseline on the same splits.
    """
    folders = [Path(folder) for folder in folders]
    each = [Metrics.model_validate(read_json(folder / "metrics.json")) for folder in folders]
    seeds = [seed for entry in each for seed in entry.seeds]
    (own,) = TRAINED.keys() & each[0].hashes.keys()
    shared = {key: value for key, value in each[0].hashes.items() if key != own}
    trained = {f"{own}_seed_{s}": e.hashes[own] for s, e in zip(seeds, each, strict=True)}
    return write_metrics(
        out,
        [folder / "predictions.parquet" for folder in folders],
        task=each[0].task,
        method=each[0].method,
        baselines=[] if baseline is None else [baseline],
        trainable_parameters=each[0].trainable_parameters,
        seeds=seeds,
        per_seed={str(s): e.main.value for s, e in zip(seeds, each, strict=True)},
        hashes=shared | trained,
    )


def finish_task(seed_folder: str | Path, summary: str | Path, out: str | Path) -> None:
    """Write one file of a task's folder; its name says which.

    Args:
        seed_folder: results of the first seed of the task's method.
        summary: metrics.json over all seeds.
        out: a text file for the main metric in percent with two decimals, ``metrics.json`` for a
            copy of the summary, or a name that the seed's folder has: what was trained, or
            ``predictions.parquet``.

    Raises:
        ArtefactError: the seed's folder has no such file.
    """
    out, source = Path(out), Path(seed_folder) / Path(out).name
    if out.suffix == ".txt":
        metrics = Metrics.model_validate(read_json(summary))
        write_text(out, f"{100 * metrics.main.value:.2f}\n")
        log(describe(metrics))
    elif out.name == Path(summary).name:
        copy_file(summary, out)
    elif source.is_file():
        copy_file(source, out)
    else:
        raise ArtefactError(
            f"{source}: no such file; expected what was trained, {' or '.join(TRAINED.values())}, "
            "and predictions.parquet"
        )
