"""Results of a sweep: one table of all scores, and pictures of the effect of each setting."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from speechprompt.evaluation.scores import Metrics
from speechprompt.report.names import METHODS, METRICS
from speechprompt.report.pictures import BLUE, ORANGE, draw_line, house_figure
from speechprompt.storage.files import read_json
from speechprompt.storage.parquet import write_parquet

__all__ = [
    "SETTINGS",
    "gather_sweep",
    "plot_by_choice",
    "plot_by_parameters",
    "plot_by_utterances",
    "sweep_table",
]

SETTINGS = ("method", "lm", "verbalizer", "length", "utterances")
STYLES = {"prompt": (BLUE, "o"), "finetune": (ORANGE, "s")}


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
    table = sweep_table(metrics, points)
    write_parquet(out, table)
    for draw in (plot_by_parameters, plot_by_utterances, plot_by_choice):
        picture = f"{draw.__name__.removeprefix('plot_')}.png"
        draw(table, Path(out).with_name(picture), title)


def sweep_table(metrics: Sequence[str | Path], points: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Gather the scores of a sweep's trainings.

    Args:
        metrics: metrics.json of every training.
        points: settings of each training, see :func:`gather_sweep`.

    Returns:
        One row per training, split and metric: ``task``, the settings, the number of training
        ``utterances``, ``seed``, ``trainable_parameters``, ``split``, ``metric``, ``main`` (whether
        it is the task's main metric on its last split), ``value`` as a fraction with its 95 %
        interval from ``low`` to ``high``, the number ``n`` of scored utterances, and for each
        setting ``own_…`` (whether it is the task's own).
    """
    rows = []
    for path, point in zip(metrics, points, strict=True):
        found = Metrics.model_validate(read_json(path))
        own = {f"own_{name}": name in point["own"] for name in SETTINGS}
        for split, scores in found.splits.items():
            for name, score in scores.items():
                rows.append(
                    {
                        "task": found.task,
                        **{key: point[key] for key in SETTINGS[:4]},
                        "utterances": found.details["training"]["utterances"],
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


def plot_by_parameters(table: pa.Table, out: str | Path, title: str) -> None:
    """Draw the main metric against the number of trained parameters, for prompts and FT-LM."""
    rows = _varied(table, "length", "method")
    _plot_lines(rows, "trainable_parameters", "trained parameters", _label(table), out, title)


def plot_by_utterances(table: pa.Table, out: str | Path, title: str) -> None:
    """Draw the main metric against the number of training utterances, for prompts and FT-LM."""
    rows = _varied(table, "utterances", "method")
    _plot_lines(rows, "utterances", "training utterances", _label(table), out, title)


def plot_by_choice(table: pa.Table, out: str | Path, title: str) -> None:
    """Draw the main metric by verbalizer and by unit LM."""
    groups = [_means(_varied(table, name), name) for name in ("verbalizer", "lm")]
    heights = [0.5 * len(group) + 0.8 for group in groups]
    ratios = {"height_ratios": heights}
    with house_figure(out, title, sum(heights) + 0.6, nrows=2, gridspec_kw=ratios) as (_, panels):
        for axes, group, label in zip(panels, groups, ("verbalizer", "unit LM"), strict=True):
            places = range(len(group))
            bounds = [group["value"] - group["low"], group["high"] - group["value"]]
            style: dict[str, Any] = {"fmt": "o", "color": BLUE, "capsize": 4, "markersize": 7}
            axes.errorbar(group["value"], places, xerr=bounds, **style)
            axes.set_yticks(places, group.index)
            axes.set(ylim=(len(group) - 0.5, -0.5), xlabel=_label(table), ylabel=label)


def _varied(table: pa.Table, *names: str) -> pd.DataFrame:
    """Main results in percent of the trainings that differ from the task in these settings only."""
    rows = table.to_pandas()
    rows = rows[rows["main"]]
    for name in SETTINGS:
        if name not in names:
            rows = rows[rows[f"own_{name}"]]
    percent = {column: 100 * rows[column] for column in ("value", "low", "high")}
    return rows.assign(**percent)


def _means(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Means over the seeds, of the values and of the bounds of their intervals."""
    return rows.groupby(by, sort=False)[["value", "low", "high"]].mean()


def _plot_lines(
    rows: pd.DataFrame, by: str, xlabel: str, ylabel: str, out: str | Path, title: str
) -> None:
    """Draw a line per method against a column on a logarithmic axis."""
    with house_figure(out, title, 4.2) as (_, (axes,)):
        for method, group in rows.groupby("method", sort=False):
            means = _means(group, by).sort_index()
            colour, marker = STYLES[method]
            style = {"color": colour, "marker": marker, "label": METHODS[method]}
            draw_line(axes, means.index, means["value"], means["low"], means["high"], **style)
        axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log")
        axes.legend(frameon=False)


def _label(table: pa.Table) -> str:
    name = table.filter(table["main"])["metric"][0].as_py()
    return f"{METRICS[name]} (%)"
