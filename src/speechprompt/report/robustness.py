"""The picture of a task's robustness."""

from pathlib import Path

from speechprompt.evaluation.names import METRICS
from speechprompt.report.fonts import drawable
from speechprompt.report.pictures import BLACK, BLUE, house_figure
from speechprompt.storage.parquet import read_parquet

__all__ = ["plot_robustness"]

ROW = 0.24  # inches


def plot_robustness(measured: str | Path, out: str | Path, title: str) -> None:
    """Draw how a score falls as recordings get worse, a row for each step.

    Args:
        measured: the table of :func:`~speechprompt.predict.robustness.measure_robustness`.
        out: picture to write.
        title: title of the picture.
    """
    table = read_parquet(measured).to_pandas()
    values = {name: 100 * table[name] for name in ("value", "low", "high")}
    kinds = table["kind"] != table["kind"].shift()
    # A row between kinds holds the name of the next one.
    places = table.index + kinds.cumsum()
    with house_figure(out, title, ROW * (len(table) + kinds.sum()) + 1) as (_, (axes,)):
        axes.axvline(values["value"][0], color=BLACK, lw=0.8, ls=":")
        bars = [values["value"] - values["low"], values["high"] - values["value"]]
        axes.errorbar(values["value"], places, xerr=bars, color=BLUE, fmt="o", ms=4, capsize=2)
        names = drawable([*table["step"], *table["kind"]])
        steps, titles = names[: len(table)], names[len(table) :]
        ticks = dict(zip(places, steps, strict=True))
        ticks |= {p - 1: t for p, t, new in zip(places, titles, kinds, strict=True) if new}
        ticks[places[0]] = "as recorded"
        del ticks[places[0] - 1]
        axes.set_yticks(list(ticks), list(ticks.values()), fontsize=9)
        for place, label in zip(ticks, axes.get_yticklabels(), strict=True):
            label.set_fontweight("normal" if place in set(places) else "bold")
        axes.set_ylim(max(places) + 0.7, 0.3)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{METRICS[table['metric'][0]]} (%)")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", alpha=0)
