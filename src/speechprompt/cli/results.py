"""The verb that shows results."""

import json
from collections.abc import Sequence
from pathlib import Path

from speechprompt.errors import ArtefactError
from speechprompt.runtime.progress import show as show_text

__all__ = ["show"]

METRICS = "metrics.json"
TITLES = ("task", "method", "metric", "score", "baseline", "verdict", "utterances")


def show(folders: Sequence[Path] = (), as_json: bool = False) -> None:
    """Show the results of tasks, a row for each: score with interval, baseline and verdict.

    Args:
        folders: folders of finished tasks, such as results/ks, or a folder of such folders;
            without any it is results.
        as_json: print JSON lines with fractions.

    Raises:
        ArtefactError: a folder has no results.
    """
    from speechprompt.evaluation.scores import Metrics
    from speechprompt.evaluation.standing import Standing
    from speechprompt.storage.tables import align_columns

    files = [path for folder in folders or (Path("results"),) for path in _results_in(folder)]
    rows = [Standing.of(Metrics.read(path)) for path in files]
    if as_json:
        values = (
            {
                **{name: getattr(row, name) for name in ("task", "method", "metric", "split")},
                **row.score.columns("score"),
                "baseline": row.baseline,
                **(row.floor.columns("baseline_score", "baseline_") if row.floor else {}),
                **(row.gain.columns("gain", "gain_") if row.gain else {}),
                **{"verdict": row.verdict, "n": row.score.n, "n_seeds": row.n_seeds},
            }
            for row in rows
        )
        show_text("\n".join(json.dumps(value, ensure_ascii=False) for value in values))
        return
    cells = [
        [
            *(row.task, row.method, row.metric, row.written(), row.written_baseline()),
            *(row.verdict, f"{row.score.n:,}"),
        ]
        for row in rows
    ]
    show_text("\n".join(align_columns([TITLES, *cells])))


def _results_in(folder: Path) -> list[Path]:
    """The metrics.json of a task, or of all tasks in a folder."""
    if (folder / METRICS).is_file():
        return [folder / METRICS]
    if found := sorted(folder.glob(f"*/{METRICS}")):
        return found
    what = f"no {METRICS} in it or in its folders" if folder.is_dir() else "no such folder"
    raise ArtefactError(
        f"{folder}: {what}; expected the folder of a finished task, such as results/ks, or of "
        "several"
    )
