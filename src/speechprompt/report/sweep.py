"""Results of a sweep: one table of all scores, and pictures of the effect of each setting."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from speechprompt.evaluation.names import METRICS, short_name
from speechprompt.evaluation.scores import Metrics
from speechprompt.report.pictures import BLUE, ORANGE, draw_line, house_figure
from speechprompt.storage.files import content_of
from speechprompt.storage.parquet import write_parquet

__all__ = ["SETTINGS", "gather_sweep"]

SETTINGS = ("method", "lm", "verbalizer", "length", "utterances")
STYLES = {"prompt": (BLUE, "o"), "finetune": (ORANGE, "s")}
SCORE = ["value", "low", "high"]
# Settings whose effect is drawn as a line per method: the picture, and its x axis' column and name.
LINES = {
    "length": ("by_parameters.svg", "trainable_parameters", "trained parameters"),
    "utterances": ("by_utterances.svg", "utterances", "training utterances"),
}


def gather_sweep(
    metrics: Sequence[str | Path], points: list[dict[str, Any]], out: str | Path, title: str
) -> None:
    """Gather the scores of a sweep's trainings into a table, and draw them.

    Args:
        metrics: metrics.json of every training.
        points: settings of each training: ``method``, ``lm``, ``verbalizer``, ``length`` (prompt
            rows), ``seed``, and in ``own`` the names of the settings that are the task's own.
        out: Parquet table to write; pictures go beside it.
        title: title of the pictures.
    """
    table = _gather(metrics, points)
    write_parquet(out, table)
    rows = table.to_pandas()
    rows = rows[rows["main"]]
    rows = rows.assign(**100 * rows[SCORE])
    label = f"{METRICS[rows['metric'].iloc[0]]} (%)"
    for name, (picture, by, xlabel) in LINES.items():
        with house_figure(Path(out).with_name(picture), title, 4.4) as (figure, (axes,)):
            for method, group in _varied(rows, name, "method").groupby("method", sort=False):
                means = _means(group, by).sort_index()
                colour, marker = STYLES[method]
                style = {"color": colour, "marker": marker, "label": short_name(method)}
                draw_line(axes, means.index, *(means[name] for name in SCORE), **style)
            axes.set(xlabel=xlabel, ylabel=label, xscale="log")
            if by == "utterances":  # all numbers, and no others of the logarithm's
                numbers = sorted(set(_varied(rows, name, "method")[by]))
                axes.set_xticks(numbers, [f"{number:,}" for number in numbers], rotation=45)
                axes.minorticks_off()
            # Beside the panel, where it covers no point.
            figure.legend(frameon=False, loc="outside lower center", ncols=2)
    _plot_choices(rows, label, Path(out).with_name("by_choice.svg"), title)


def _gather(metrics: Sequence[str | Path], points: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Gather the scores of a sweep's trainings.

    Returns:
        One row per training, split and metric: ``task``, the settings, the number of training
        ``utterances``, ``seed``, ``trainable_parameters``, ``split``, ``metric``, ``main`` (whether
        it is the task's main metric on its last split), ``value`` as a fraction with its 95 %
        interval from ``low`` to ``high``, the number ``n`` of scored utterances, and for each
        setting ``own_…`` (whether it is the task's own).
    """
    rows = []
    for path, point in zip(metrics, points, strict=True):
        found = Metrics.read(path)
        with content_of(path):
            utterances = found.details["training"]["utterances"]
        own = {f"own_{name}": name in point["own"] for name in SETTINGS}
        for split, scores in found.splits.items():
            for name, score in scores.items():
                rows.append(
                    {
                        "task": found.task,
                        **{key: point[key] for key in SETTINGS[:4]},
                        "utterances": utterances,
                        "seed": point["seed"],
                        "trainable_parameters": found.trainable_parameters,
                        "split": split,
                        "metric": name,
                        "main": name == found.main.name and split == list(found.splits)[-1],
                        **score.columns(),
                        "n": score.n,
                        **own,
                    }
                )
    return pa.Table.from_pylist(rows)


def _varied(rows: pd.DataFrame, *names: str) -> pd.DataFrame:
    """The rows of trainings that differ from the task in these settings only."""
    own = [f"own_{name}" for name in SETTINGS if name not in names]
    return rows[rows[own].all(axis=1)]


def _means(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Means over the seeds, of the values and of the bounds of their intervals."""
    return rows.groupby(by, sort=False)[SCORE].mean()


def _plot_choices(rows: pd.DataFrame, label: str, out: Path, title: str) -> None:
    """Draw the main metric by verbalizer and by unit LM."""
    groups = [_means(_varied(rows, name), name) for name in ("verbalizer", "lm")]
    heights = [0.5 * len(group) + 0.8 for group in groups]
    shared: dict[str, Any] = {"gridspec_kw": {"height_ratios": heights}, "sharex": True}
    with house_figure(out, title, sum(heights) + 0.6, nrows=2, **shared) as (_, panels):
        for axes, group, choice in zip(panels, groups, ("verbalizer", "unit LM"), strict=True):
            places = range(len(group))
            bounds = [group["value"] - group["low"], group["high"] - group["value"]]
            style: dict[str, Any] = {"fmt": "o", "color": BLUE, "capsize": 4, "markersize": 7}
            axes.errorbar(group["value"], places, xerr=bounds, **style)
            axes.set_yticks(places, group.index)
            axes.set(ylim=(len(group) - 0.5, -0.5), xlabel=label, ylabel=choice)
