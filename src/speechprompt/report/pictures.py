"""Pictures of learning curves, predictions and units, in one style."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import matplotlib
import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from speechprompt.errors import ConfigError
from speechprompt.evaluation.error_by_length import error_by_length
from speechprompt.evaluation.names import METRICS, QUALITIES, short_name
from speechprompt.evaluation.predictions import read_predictions
from speechprompt.report.breakdown import Confusions, confusions
from speechprompt.report.fonts import drawable, shortened, text_width
from speechprompt.storage.files import atomic_path
from speechprompt.storage.parquet import metadata_of, read_parquet, write_parquet
from speechprompt.units.codebook import load_codebook
from speechprompt.units.statistics import unit_statistics

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Pictures look the same wherever they are made, whatever a user's matplotlibrc says.
matplotlib.rcdefaults()

__all__ = [
    "draw_line",
    "draw_unit_quality",
    "house_figure",
    "plot_codebook",
    "plot_confusion",
    "plot_curve",
    "plot_error_by_length",
    "plot_unit_statistics",
]

# Okabe and Ito's palette, whose colours colour-blind readers can tell apart.
COLOURS = BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
# Pictures are narrow and have large letters, so that they can be read on a phone.
WIDTH = 5.0  # inches
STYLE: dict[Any, Any] = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.dpi": 120,
    "savefig.bbox": "tight",
    "svg.hashsalt": "speechprompt",
}
WIDEST_NAME = 18  # times the font size; wider ones would leave no room for the cells
NAME_SIZE = 9  # points
NAMED_CELLS = 24  # above this many labels the cells are too small for numbers
NAMED_UNITS = 20  # more numbers would cover each other
# Frames that units are measured on: label, colour, marker and offset from the codebook's row.
FRAMES = {
    "all": ("all frames", BLUE, "o", -0.14),
    "speech": ("without silence", ORANGE, "s", 0.14),
}
CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}


def plot_curve(curve: str | Path, out: str | Path, title: str) -> None:
    """Draw a training's loss and, where the curve has it, accuracy against the epoch.

    Args:
        curve: learning curve.
        out: picture to write.
        title: title of the picture.
    """
    table = read_parquet(curve).to_pandas()
    drawn = [("loss", 1, "loss (nats per predicted token)")]
    if "accuracy" in table and table["accuracy"].notna().any():
        drawn.append(("accuracy", 100, f"{METRICS['acc']} (%)"))
    best = table[table["split"] == "valid"]
    with house_figure(out, title, 3.2 * len(drawn), nrows=len(drawn)) as (_, panels):
        for axis, (column, factor, label) in zip(panels, drawn, strict=True):
            for split, colour in (("train", BLUE), ("valid", ORANGE)):
                rows = table[table["split"] == split]
                values = factor * rows[column]
                axis.plot(rows["epoch"], values, color=colour, marker=".", label=split)
            if len(best):
                epoch = best.loc[best["loss"].idxmin(), "epoch"]
                axis.axvline(epoch, color=GREEN, linestyle="--", label="kept")
            axis.set(xlabel="epoch", ylabel=label)
            axis.set_ylim(bottom=max(0.0, axis.get_ylim()[0]))
            axis.locator_params(axis="x", integer=True)
            axis.legend(frameon=False)


def plot_confusion(predictions: str | Path, out: str | Path, title: str) -> None:
    """Draw the confusion matrix of the last split, each row in percent of its reference class.

    Each label column has a panel. Predictions that are not the reference of any utterance share the
    last column. Where there are many classes, columns have the numbers of the rows instead of
    names. Long names have an ellipsis in their middle.

    Args:
        predictions: predictions of a classification.
        out: picture to write.
        title: title of the picture.
    """
    table = read_predictions(predictions)
    found = confusions(table)
    heights = [_matrix_height(one) for one in found]
    title = f"{title}, {table['split'][0]} split"
    ratios = {"height_ratios": heights}
    with house_figure(out, title, sum(heights), len(found), gridspec_kw=ratios) as (figure, panels):
        for axes, one in zip(panels, found, strict=True):
            image = _draw_matrix(axes, one)
        _colorbar(figure, image, "share of the reference class (%)", panels)


def _matrix_height(found: Confusions) -> float:
    """Inches of a panel, with its names and labels."""
    names = found.names
    longest = min(max(map(text_width, names)), WIDEST_NAME)
    margin = 0.7 if len(names) > NAMED_CELLS else longest * NAME_SIZE / 72 + 0.7
    least = WIDTH if not found.column else 1.5
    return min(max(least, (0.165 if len(names) > NAMED_CELLS else 0.22) * len(names) + margin), 16)


def _draw_matrix(axes: Axes, found: Confusions) -> ScalarMappable:
    counts, others = np.array(found.counts), found.answers[len(found.names) :]
    share = 100 * counts / counts.sum(axis=1, keepdims=True)
    names = drawable([shortened(name, WIDEST_NAME) for name in found.names])
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    axes.grid(False)
    (label_column,) = drawable([shortened(found.column, WIDEST_NAME / 2)])
    axes.set(xlabel="prediction", ylabel=f"reference {label_column}".strip())
    if len(names) > NAMED_CELLS:
        rows = [f"{name}  {i}" for i, name in enumerate(names, 1)]
        axes.set_yticks(range(len(names)), rows, fontsize=8)
        last = len(names) - 3 * len(others)  # a number next to OTHER would touch it
        marks = {i: str(i + 1) for i in range(4, last, 5)} | dict(enumerate(others, len(names)))
        axes.set_xticks(list(marks), list(marks.values()))
        axes.set_xlabel("prediction (number of the row)")
        return image
    axes.set_yticks(range(len(names)), names, fontsize=NAME_SIZE)
    axes.set_xticks(range(share.shape[1]), [*names, *others], rotation=90, fontsize=NAME_SIZE)
    for row, column in zip(*np.nonzero(share), strict=True):
        colour = "white" if share[row, column] > 55 else "black"
        axes.text(column, row, f"{share[row, column]:.0f}", color=colour, fontsize=8, **CENTRED)
    return image


def plot_error_by_length(predictions: Sequence[str | Path], out: str | Path, title: str) -> None:
    """Draw the character error rate against the length of the reference, a line per method.

    Args:
        predictions: predictions files of one task, of any methods and seeds.
        out: picture to write; the numbers go beside it as Parquet.
        title: title of the picture.

    Raises:
        ArtefactError: the predictions are labels and not text.
    """
    table = error_by_length(predictions)
    write_parquet(Path(out).with_suffix(".parquet"), table)
    methods = table.to_pandas().groupby("method", sort=False)
    with house_figure(out, title, 4.2) as (_, (axes,)):
        for (method, rows), colour, marker in zip(methods, COLOURS, "os^D", strict=False):
            percent = [100 * rows[name] for name in ("cer", "cer_low", "cer_high")]
            style = {"color": colour, "marker": marker, "label": short_name(method)}
            draw_line(axes, rows["mean_length"], *percent, **style)
        label = f"{METRICS['cer']} (%)"
        axes.set(xlabel="length of the reference (characters)", ylabel=label)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)


def draw_unit_quality(table: pa.Table, out: str | Path, title: str) -> None:
    """Draw the quality of codebooks, in a row per codebook and a panel per metric.

    Args:
        table: the table of :func:`~speechprompt.report.quality_table.compare_quality`.
        out: picture to write.
        title: title of the picture.
    """
    rows = table.to_pandas()
    names = list(dict.fromkeys(rows["codebook"]))
    layers = rows.drop_duplicates("codebook").set_index("codebook")["layer"]
    labels = [
        name if np.isnan(layers[name]) else f"{name} (layer {layers[name]:.0f})" for name in names
    ]
    with house_figure(out, title, 1.0 + 3 * (0.7 + 0.36 * len(names)), nrows=3) as (figure, panels):
        for axes, (metric, label) in zip(panels, QUALITIES.items(), strict=True):
            for frames, (text, colour, marker, offset) in FRAMES.items():
                group = rows[rows["frames"] == frames]
                value = group[metric].to_numpy()
                bounds = [value - group[f"{metric}_low"], group[f"{metric}_high"] - value]
                style: dict[str, Any] = {"xerr": 100 * np.maximum(bounds, 0), "capsize": 3}
                style |= {"fmt": marker, "color": colour, "label": text}
                axes.errorbar(100 * value, np.arange(len(names)) + offset, **style)
            axes.set(xlabel=f"{label} (%)", ylim=(len(names) - 0.5, -0.5))
            axes.set_xlim(left=0)
            axes.set_yticks(range(len(names)), labels)
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, frameon=False, loc="outside lower center", ncols=2)


def plot_unit_statistics(index: str | Path, out: str | Path, title: str) -> None:
    """Draw how often units occur and, where durations are known, how long they last.

    The upper panel has every unit's share of the frames, from the most frequent unit to the rarest,
    and the share that all units would have if they were equally frequent. Where durations are not
    known, it has shares of the occurrences. The lower panel has the durations.

    Args:
        index: index.json of a split.
        out: picture to write; the numbers go beside it as Parquet.
        title: title of the picture.
    """
    table = unit_statistics(index)
    write_parquet(Path(out).with_suffix(".parquet"), table)
    usage = _Usage.of(table)
    known, share = usage.has_frames, np.sort(usage.share)[::-1]
    with house_figure(out, title, 3.2 * (1 + known), nrows=1 + known) as (_, axes):
        axes[0].bar(np.arange(1, len(share) + 1), share, width=1.0, color=BLUE)
        axes[0].axhline(100 / len(share), color=ORANGE, linestyle="--", label="all equally often")
        of = "frames" if known else "occurrences"
        axes[0].set(xlabel="units, most frequent first", ylabel=f"share of the {of} (%)")
        axes[0].legend(frameon=False)
        if known:
            counts = np.sum(table["durations"].to_pylist(), axis=0)
            last = max(np.flatnonzero(counts), default=0) + 1
            durations = usage.frame * np.arange(1, last + 1)
            axes[1].bar(durations, counts[:last], width=usage.frame, color=BLUE)
            axes[1].set(xlabel=f"duration of a unit ({usage.unit})", ylabel="occurrences")
            axes[1].set_yscale("log")


def plot_codebook(
    codebook: str | Path, statistics: str | Path, out: str | Path, title: str
) -> None:
    """Draw a map of a codebook's centroids by t-SNE, which keeps neighbours together.

    A unit's area is its share of the frames. Its colour is its mean duration, where durations are
    known. The most frequent units are labelled with their number.

    Args:
        codebook: the codebook.
        statistics: Parquet file of plot-unit-statistics.
        out: picture to write.
        title: title of the picture.
    """
    from sklearn.manifold import TSNE

    centroids, table = load_codebook(codebook).centroids, read_parquet(statistics)
    usage = _Usage.of(table)
    perplexity = min(12.0, (len(centroids) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(centroids)
    colour = usage.frame * table["mean_frames"].to_numpy() if usage.has_frames else BLUE
    style: dict[str, Any] = {"cmap": "viridis", "alpha": 0.75, "linewidths": 0.4}
    halo = [withStroke(linewidth=1.5, foreground="white")]
    with house_figure(out, title, 5.2) as (figure, (axes,)):
        style |= {"s": 25 + 90 * usage.share, "c": colour, "edgecolors": BLACK}
        points = axes.scatter(*places.T, **style)
        for unit in np.argsort(-usage.share, kind="stable")[:NAMED_UNITS]:
            axes.annotate(str(unit), places[unit], fontsize=9, path_effects=halo, **CENTRED)
        axes.set(xlabel="t-SNE, 1st axis (no unit)", ylabel="2nd axis (no unit)")
        axes.set(xticks=[], yticks=[])
        if usage.has_frames:
            _colorbar(figure, points, f"mean duration ({usage.unit})")


class _Usage(NamedTuple):
    """How much of a split each unit covers.

    Attributes:
        share: percent of the frames, or of the occurrences where durations are not known.
        has_frames: whether durations are known.
        frame: duration of a frame.
        unit: unit of measure of ``frame``.
    """

    share: np.ndarray
    has_frames: bool
    frame: float
    unit: str

    @classmethod
    def of(cls, statistics: pa.Table) -> Self:
        known = statistics["frames"].null_count == 0
        weight = statistics["frames" if known else "count"].to_numpy().astype(float)
        rate = metadata_of(statistics.schema).get("frame_rate")
        frame, unit = (1.0, "frames") if rate is None else (1000 / float(rate), "ms")
        return cls(100 * weight / max(weight.sum(), 1), known, frame, unit)


def draw_line(
    axes: Axes, x: pd.Series, y: pd.Series, low: pd.Series, high: pd.Series, **style: Any
) -> None:
    """Draw a line with a band of intervals, or a single point with its interval."""
    axes.plot(x, y, **style)
    if len(x) > 1:
        axes.fill_between(x, low, high, color=style["color"], alpha=0.18, lw=0)
    else:
        axes.errorbar(x, y, yerr=[y - low, high - y], color=style["color"], capsize=4)


def _colorbar(
    figure: Figure, drawn: ScalarMappable, label: str, panels: Sequence[Axes] | None = None
) -> None:
    style: dict[str, Any] = {"location": "bottom", "shrink": 0.8, "aspect": 40}
    figure.colorbar(drawn, label=label, ax=panels, **style)


def save_figure(figure: Figure, out: str | Path) -> None:
    """Write a figure in the format that the file's ending names; beside SVG, write PDF too.

    The same figure is the same bytes: neither format has a date.

    Raises:
        ConfigError: another ending.
    """
    kind = Path(out).suffix.removeprefix(".")
    if kind not in ("svg", "pdf", "png"):
        raise ConfigError(f"{out}: expected a picture's name that ends in .svg, .pdf or .png")
    for path in [Path(out), *([Path(out).with_suffix(".pdf")] if kind == "svg" else [])]:
        kind = path.suffix.removeprefix(".")
        date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=date)


@contextmanager
def house_figure(
    out: str | Path,
    title: str,
    height: float,
    nrows: int = 1,
    style: Mapping[Any, Any] | None = None,
    **settings: Any,
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Make a figure with panels one below the other; at the end, write it and close it.

    Args:
        out: picture to write, SVG (with PDF beside it) or PNG.
        title: title of the picture; an empty one is not drawn.
        height: height in inches.
        nrows: number of panels.
        style: matplotlib's settings that differ from :data:`STYLE`.
        settings: further settings of ``pyplot.subplots``.
    """
    with plt.rc_context({**STYLE, **(style or {})}):
        figure, axes = plt.subplots(
            nrows, figsize=(WIDTH, height), layout="constrained", squeeze=False, **settings
        )
        try:
            yield figure, list(axes[:, 0])
            if title:
                figure.suptitle(title)
            save_figure(figure, out)
        finally:
            plt.close(figure)
