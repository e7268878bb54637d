"""Pictures of a training and its answers, in one readable style."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speechprompt.files import atomic_path

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = [
    "plot_confusion_matrix",
    "plot_error_by_length",
    "plot_learning_curve",
    "plot_unit_quality",
]

# Okabe and Ito's palette: distinguishable with colour-blind eyes.
BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
METHODS = {
    "prompt": "prompt",
    "finetune": "whole unit LM (FT-LM)",
    "downstream": "downstream model (FT-DM)",
}
STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.dpi": 120,
    "savefig.bbox": "tight",
}
QUALITIES = {"phone_purity": "phone purity", "cluster_purity": "cluster purity", "pnmi": "PNMI"}
NAMED_CELLS = 24  # above this many labels the cells are too small for numbers


def plot_learning_curve(curve: str | Path, out: str | Path, title: str) -> None:
    """Draw loss and, where a table has it, accuracy against epochs from a learning-curve table."""
    table = pq.read_table(curve).to_pandas()
    drawn = [("loss", 1, "loss (nats per predicted token)")]
    if "accuracy" in table and table["accuracy"].notna().any():
        drawn.append(("accuracy", 100, "accuracy (%)"))
    best = table[table["split"] == "valid"]
    with _figure(out, figsize=(4 * len(drawn), 3.6), ncols=len(drawn)) as (figure, axes):
        for axis, (column, factor, label) in zip(np.atleast_1d(axes), drawn, strict=True):
            for split, colour in (("train", BLUE), ("valid", ORANGE)):
                rows = table[table["split"] == split]
                values = factor * rows[column]
                axis.plot(rows["epoch"], values, color=colour, marker=".", label=split)
            if len(best):
                epoch = best.loc[best["loss"].idxmin(), "epoch"]
                axis.axvline(epoch, color=GREEN, linestyle="--", label="kept")
            axis.set(xlabel="epoch", ylabel=label)
            axis.legend(frameon=False)
        figure.suptitle(title)


def plot_confusion_matrix(predictions: str | Path, out: str | Path, title: str) -> None:
    """Draw answers against references of the last split, each row in percent of its class."""
    table = pq.read_table(predictions)
    split = table["split"][-1].as_py()
    table = table.filter(pc.equal(table["split"], split))
    references, answers = table["reference"].to_pylist(), table["prediction"].to_pylist()
    names = sorted({*references, *answers})
    index = {name: i for i, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)))
    for reference, answer in zip(references, answers, strict=True):
        matrix[index[reference], index[answer]] += 1
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = min(4 + 0.38 * len(names), 24)
    with _figure(out, figsize=(size, size * 0.88)) as (figure, axes):
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        axes.grid(False)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="prediction", ylabel="reference", title=f"{title}, {split} split")
        if len(names) <= NAMED_CELLS:
            for row, column in zip(*np.nonzero(matrix), strict=True):
                axes.text(
                    column,
                    row,
                    f"{share[row, column]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if share[row, column] > 55 else "black",
                )
        figure.colorbar(image, label="share of the reference class (%)", fraction=0.045)


def plot_error_by_length(table: pa.Table, out: str | Path, title: str) -> None:
    """Draw :func:`~speechprompt.lengths.error_by_length`: a line per method, 95 % intervals."""
    rows = table.to_pandas()
    with _figure(out, figsize=(6.4, 4)) as (_, axes):
        for (method, group), colour, marker in zip(
            rows.groupby("method", sort=False), (BLUE, ORANGE, GREEN, BLACK), "os^D", strict=False
        ):
            x, y = group["mean_length"], 100 * group["cer"]
            axes.plot(x, y, color=colour, marker=marker, label=METHODS.get(method, method))
            axes.fill_between(
                x, 100 * group["cer_low"], 100 * group["cer_high"], color=colour, alpha=0.18, lw=0
            )
        axes.set(xlabel="length of the reference (characters)", ylabel="character error rate (%)")
        axes.set_ylim(bottom=0)
        axes.set_title(title)
        axes.legend(frameon=False)


def plot_unit_quality(table: pa.Table, out: str | Path, title: str) -> None:
    """Draw :func:`~speechprompt.quality_table.compare_quality`: a line of text per codebook, a
    panel per metric, points with 95 % intervals over all frames and over those of speech.
    """
    rows = table.to_pandas()
    names = list(dict.fromkeys(rows["codebook"]))
    layers = rows.drop_duplicates("codebook").set_index("codebook")["layer"]
    labels = [
        name if np.isnan(layers[name]) else f"{name} (layer {layers[name]:.0f})" for name in names
    ]
    size = (10, 1.6 + 0.42 * len(names))
    with _figure(out, figsize=size, ncols=3) as (figure, panels):
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
            axes.set_yticks(range(len(names)), labels if axes is panels[0] else [""] * len(names))
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, frameon=False, loc="outside lower center", ncols=2)
        figure.suptitle(title)


@contextmanager
def _figure(
    out: str | Path, figsize: tuple[float, float], ncols: int = 1
) -> Iterator[tuple[plt.Figure, plt.Axes]]:
    """A figure in the house style, saved atomically as PNG and closed."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(ncols=ncols, figsize=figsize, layout="constrained")
        try:
            yield figure, axes
            with atomic_path(out) as temporary:
                figure.savefig(temporary, format="png")
        finally:
            plt.close(figure)
