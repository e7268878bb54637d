"""Results of a method over its seeds, and the files of a finished task's folder."""

from collections.abc import Sequence
from pathlib import Path

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.scores import Metrics, describe, write_metrics
from speechprompt.runtime.progress import log
from speechprompt.storage.files import copy_file, read_json, write_text

__all__ = ["finish_task", "summarise_seeds"]

# The file that a training wrote, by its name in ``hashes``.
TRAINED = {"prompt": "prompt.safetensors", "model": "model.safetensors"}


def summarise_seeds(
    folders: Sequence[str | Path], out: str | Path, baseline: str | Path | None = None
) -> Metrics:
    """Score a method over its seeds.

    Args:
        folders: folder of each seed, with predictions.parquet and metrics.json.
        out: metrics.json to write.
        baseline: predictions of the baseline on the same splits.
    """
    each = [Metrics.model_validate(read_json(Path(path, "metrics.json"))) for path in folders]
    seeds = [seed for entry in each for seed in entry.seeds]
    (own,) = TRAINED.keys() & each[0].hashes.keys()
    shared = {key: value for key, value in each[0].hashes.items() if key != own}
    trained = {f"{own}_seed_{s}": e.hashes[own] for s, e in zip(seeds, each, strict=True)}
    return write_metrics(
        out,
        [Path(folder, "predictions.parquet") for folder in folders],
        task=each[0].task,
        method=each[0].method,
        baselines=[] if baseline is None else [baseline],
        trainable_parameters=each[0].trainable_parameters,
        seeds=seeds,
        per_seed={str(s): e.main.value for s, e in zip(seeds, each, strict=True)},
        hashes=shared | trained,
    )


def finish_task(source: str | Path, out: str | Path) -> None:
    """Write one file of a finished task's folder.

    Args:
        source: what the first seed trained or predicted, or metrics.json over the seeds.
        out: a text file gets the main metric of metrics.json in percent, two decimals; another
            file is a copy.

    Raises:
        ArtefactError: there is no such result.
    """
    source, out = Path(source), Path(out)
    if not source.is_file():
        raise ArtefactError(
            f"{source}: no such file; a finished task has {' or '.join(TRAINED.values())}, "
            "predictions.parquet and metrics.json"
        )
    if out.suffix != ".txt":
        copy_file(source, out)
        return
    metrics = Metrics.model_validate(read_json(source))
    write_text(out, f"{100 * metrics.main.value:.2f}\n")
    log(describe(metrics))
