"""Pictures of trainings, answers and units, in one readable style."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechprompt.evaluation.error_by_length import error_by_length
from speechprompt.report.names import METHODS, METRICS, QUALITIES
from speechprompt.storage.files import atomic_path
from speechprompt.storage.parquet import read_parquet, write_parquet
from speechprompt.units.codebook import load_codebook
from speechprompt.units.statistics import unit_statistics

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patheffects import withStroke

__all__ = [
    "draw_unit_quality",
    "house_figure",
    "plot_codebook",
    "plot_confusion",
    "plot_curve",
    "plot_error_by_length",
    "plot_unit_statistics",
]

# Okabe and Ito's palette: distinguishable with colour-blind eyes.
BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
# Pictures are narrow, with large letters, so that they can be read at the width of a phone.
WIDTH = 5.0  # inches
STYLE = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.dpi": 120,
    "savefig.bbox": "tight",
}
NAMED_CELLS = 24  # above this many labels the cells are too small for numbers
OTHER = "other"  # the column of answers that no utterance has
NAMED_UNITS = 20  # more numbers would cover each other


def plot_curve(curve: str | Path, out: str | Path, title: str) -> None:
    """Draw loss and, where the curve has it, accuracy against epochs.

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
    with house_figure(out, (WIDTH, 3.2 * len(drawn)), nrows=len(drawn)) as (figure, axes):
        for axis, (column, factor, label) in zip(np.atleast_1d(axes), drawn, strict=True):
            for split, colour in (("train", BLUE), ("valid", ORANGE)):
                rows = table[table["split"] == split]
                values = factor * rows[column]
                axis.plot(rows["epoch"], values, color=colour, marker=".", label=split)
            if len(best):
                epoch = best.loc[best["loss"].idxmin(), "epoch"]
                axis.axvline(epoch, color=GREEN, linestyle="--", label="kept")
            axis.set(xlabel="epoch", ylabel=label)
            axis.set_ylim(bottom=max(0.0, axis.get_ylim()[0]))
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend(frameon=False)
        figure.suptitle(title)


def plot_confusion(predictions: str | Path, out: str | Path, title: str) -> None:
    """Draw answers against references of the last split, each row in percent of its class.

    Answers that are no utterance's reference share the last column. Many classes are numbered: a
    name by its row, numbers below.

    Args:
        predictions: predictions of a classification.
        out: picture to write.
        title: title of the picture.
    """
    table = read_parquet(predictions)
    split = table["split"][-1].as_py()
    table = table.filter(pc.equal(table["split"], split))
    references, answers = table["reference"].to_pylist(), table["prediction"].to_pylist()
    names = sorted(set(references))
    others = [OTHER] if set(answers) - set(names) else []
    index = {name: i for i, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names) + len(others)))
    for reference, answer in zip(references, answers, strict=True):
        matrix[index[reference], index.get(answer, len(names))] += 1
    share = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    numbered = len(names) > NAMED_CELLS
    margin = 0.7 if numbered else 0.06 * max(map(len, names)) + 0.7  # inches for names and labels
    height = min(max(WIDTH, 0.165 * len(names) + margin), 16)
    with house_figure(out, (WIDTH, height)) as (figure, axes):
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        axes.grid(False)
        figure.suptitle(f"{title}, {split} split")
        if numbered:
            rows = [f"{name}  {i}" for i, name in enumerate(names, 1)]
            axes.set_yticks(range(len(names)), rows, fontsize=8)
            last = len(names) - 3 * len(others)  # a number beside OTHER would touch it
            marks = {i: str(i + 1) for i in range(4, last, 5)}
            marks |= dict(enumerate(others, len(names)))
            axes.set_xticks(list(marks), list(marks.values()))
            axes.set(xlabel="prediction (number of the row)", ylabel="reference")
        else:
            axes.set_yticks(range(len(names)), names, fontsize=9)
            axes.set_xticks(range(share.shape[1]), [*names, *others], rotation=90, fontsize=9)
            axes.set(xlabel="prediction", ylabel="reference")
            _write_shares(axes, share)
        label = "share of the reference class (%)"
        figure.colorbar(image, label=label, location="bottom", shrink=0.8, aspect=40)


def _write_shares(axes: plt.Axes, share: np.ndarray) -> None:
    """Numbers into the cells of a matrix that are not empty."""
    for row, column in zip(*np.nonzero(share), strict=True):
        axes.text(
            column,
            row,
            f"{share[row, column]:.0f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share[row, column] > 55 else "black",
        )


def plot_error_by_length(predictions: Sequence[str | Path], out: str | Path, title: str) -> None:
    """Draw the error by length of the answer: a line per method, with 95 % intervals.

    Args:
        predictions: predictions files of one task, of any methods and seeds.
        out: picture to write; the numbers go beside it as Parquet.
        title: title of the picture.

    Raises:
        ArtefactError: the predictions are no generated text.
    """
    table = error_by_length(predictions)
    write_parquet(Path(out).with_suffix(".parquet"), table)
    rows = table.to_pandas()
    with house_figure(out, (WIDTH, 4.2)) as (_, axes):
        for (method, group), colour, marker in zip(
            rows.groupby("method", sort=False), (BLUE, ORANGE, GREEN, BLACK), "os^D", strict=False
        ):
            x, y = group["mean_length"], 100 * group["cer"]
            axes.plot(x, y, color=colour, marker=marker, label=METHODS.get(method, method))
            axes.fill_between(
                x, 100 * group["cer_low"], 100 * group["cer_high"], color=colour, alpha=0.18, lw=0
            )
        label = f"{METRICS['cer']} (%)"
        axes.set(xlabel="length of the reference (characters)", ylabel=label)
        axes.set_ylim(bottom=0)
        axes.set_title(title)
        axes.legend(frameon=False)


def draw_unit_quality(table: pa.Table, out: str | Path, title: str) -> None:
    """Draw the quality of codebooks: a row per codebook and a panel per metric.

    Points have 95 % intervals, over all frames and over frames of speech.
    """
    rows = table.to_pandas()
    names = list(dict.fromkeys(rows["codebook"]))
    layers = rows.drop_duplicates("codebook").set_index("codebook")["layer"]
    labels = [
        name if np.isnan(layers[name]) else f"{name} (layer {layers[name]:.0f})" for name in names
    ]
    size = (WIDTH, 1.0 + 3 * (0.7 + 0.36 * len(names)))
    with house_figure(out, size, nrows=3) as (figure, panels):
        for axes, (metric, label) in zip(panels, QUALITIES.items(), strict=True):
            for (frames, group), colour, marker, offset in zip(
                rows.groupby("frames", sort=False), (BLUE, ORANGE), "os", (-0.14, 0.14), strict=True
            ):
                value = group[metric].to_numpy()
                bounds = [value - group[f"{metric}_low"], group[f"{metric}_high"] - value]
                axes.errorbar(
                    100 * value,
                    np.arange(len(names)) + offset,
                    xerr=100 * np.maximum(bounds, 0),
                    fmt=marker,
                    color=colour,
                    capsize=3,
                    label="all frames" if frames == "all" else "without silence",
                )
            axes.set(xlabel=f"{label} (%)", ylim=(len(names) - 0.5, -0.5))
            axes.set_xlim(left=0)
            axes.set_yticks(range(len(names)), labels)
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, frameon=False, loc="outside lower center", ncols=2)
        figure.suptitle(title)


def plot_unit_statistics(index: str | Path, out: str | Path, title: str) -> None:
    """Draw how often units occur and, if known, how long they last.

    Above, every unit's share of the frames (of the occurrences, where durations are not known) from
    the most frequent to the rarest, and the share they would have if all were equally frequent;
    below, how long units last.

    Args:
        index: index.json of a split.
        out: picture to write; the numbers go beside it as Parquet.
        title: title of the picture.
    """
    table = unit_statistics(index)
    write_parquet(Path(out).with_suffix(".parquet"), table)
    known = table["frames"].null_count == 0
    weight = table["frames" if known else "count"].to_numpy()
    share = 100 * np.sort(weight)[::-1] / max(weight.sum(), 1)
    with house_figure(out, (WIDTH, 3.2 * (1 + known)), nrows=1 + known) as (figure, panels):
        axes = np.atleast_1d(panels)
        axes[0].bar(np.arange(1, len(share) + 1), share, width=1.0, color=BLUE)
        axes[0].axhline(100 / len(share), color=ORANGE, linestyle="--", label="all equally often")
        of = "frames" if known else "occurrences"
        axes[0].set(xlabel="units, most frequent first", ylabel=f"share of the {of} (%)")
        axes[0].legend(frameon=False)
        if known:
            counts = np.sum(table["durations"].to_pylist(), axis=0)
            rate = float((table.schema.metadata or {}).get(b"frame_rate", b"nan"))
            factor, unit = (1, "frames") if np.isnan(rate) else (1000 / rate, "ms")
            last = max(np.flatnonzero(counts), default=0) + 1
            axes[1].bar(factor * np.arange(1, last + 1), counts[:last], width=factor, color=BLUE)
            axes[1].set(xlabel=f"duration of a unit ({unit})", ylabel="occurrences", yscale="log")
        figure.suptitle(title)


def plot_codebook(
    codebook: str | Path, statistics: str | Path, out: str | Path, title: str
) -> None:
    """Draw a map of a codebook's centroids: t-SNE, so that neighbours stay neighbours.

    A unit's area is its share of the frames (or occurrences) and its colour how long it lasts on
    average, where that is known. The most frequent units bear their number.

    Args:
        codebook: the codebook.
        statistics: Parquet file of plot-unit-statistics.
        out: picture to write.
        title: title of the picture.
    """
    from sklearn.manifold import TSNE

    centroids, table = load_codebook(codebook).centroids, read_parquet(statistics)
    known = table["frames"].null_count == 0
    weight = table["frames" if known else "count"].to_numpy().astype(float)
    perplexity = min(12.0, (len(centroids) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(centroids)
    with house_figure(out, (WIDTH, 5.2)) as (figure, axes):
        rate = float((table.schema.metadata or {}).get(b"frame_rate", b"nan"))
        colour = BLUE
        if known:
            colour = table["mean_frames"].to_numpy() * (1 if np.isnan(rate) else 1000 / rate)
        points = axes.scatter(
            *places.T,
            s=25 + 9000 * weight / max(weight.sum(), 1),
            c=colour,
            cmap="viridis",
            alpha=0.75,
            linewidths=0.4,
            edgecolors=BLACK,
        )
        for unit in np.argsort(-weight, kind="stable")[:NAMED_UNITS]:
            halo = [withStroke(linewidth=1.5, foreground="white")]
            at = {"ha": "center", "va": "center", "fontsize": 9, "path_effects": halo}
            axes.annotate(str(unit), places[unit], **at)
        axes.set(xlabel="t-SNE, 1st axis (no unit)", ylabel="2nd axis (no unit)")
        axes.set(xticks=[], yticks=[])
        if known:
            unit = "frames" if np.isnan(rate) else "ms"
            label = f"mean duration ({unit})"
            figure.colorbar(points, label=label, location="bottom", shrink=0.8, aspect=40)
        figure.suptitle(title)


@contextmanager
def house_figure(
    out: str | Path, figsize: tuple[float, float], nrows: int = 1, **settings: Any
) -> Iterator[tuple[plt.Figure, plt.Axes]]:
    """A figure in the house style, saved atomically as PNG and closed."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(nrows, figsize=figsize, layout="constrained", **settings)
        try:
            yield figure, axes
            with atomic_path(out) as temporary:
                figure.savefig(temporary, format="png")
        finally:
            plt.close(figure)
