"""The report: ratios between measurements of one run, and whether the required levels hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.cases import ENCODE, OURS, PEFT, PUBLISHED
from benchmarks.machine import has_bf16_matrix_units

__all__ = ["compare", "markdown"]

Row = dict[str, Any]

_NAMES = {OURS: "this package", PUBLISHED: "(a) published", PEFT: "(b) peft"}
_LARGEST = 3e9
_COLUMNS = (
    "model",
    "lengths",
    "phase",
    "precision",
    "computed by",
    "batch",
    "utt/s",
    "x (a)",
    "x (b)",
    "of matrix peak",
    "peak MB",
    "level",
)
_ENCODING_COLUMNS = (
    "model",
    "lengths",
    "precision",
    "computed by",
    "batch",
    "x real time",
    "x (a)",
    "of matrix peak",
    "peak MB",
    "units as fp32",
    "level",
)


def compare(rows: Sequence[Row], machine: Row, peaks: dict[str, Row]) -> list[Row]:
    """Add the ratios to the others, the share of the peak and the levels to our rows."""
    compared = []
    for row in rows:
        row = dict(row)
        if row["contender"] == OURS and "error" not in row:
            row["over_published"] = _ratio(row, rows, PUBLISHED, "fp32")
            row["over_peft"] = _ratio(row, rows, PEFT, row["precision"])
            peak = f"{row['precision']} laid out" if row["phase"] == ENCODE else row["precision"]
            row["share_of_peak"] = row["gflops"] / peaks[peak]["gflops"]
            row["levels"] = _levels(row, machine)
        compared.append(row)
    return compared


def markdown(rows: Sequence[Row], machine: Row, peaks: dict[str, Row]) -> str:
    """The report as Markdown that is also readable as plain text."""
    flags = ", ".join(machine["bf16_flags"]) or "none"
    gpu = f"{machine['gpu']}; " if machine.get("gpu") else ""
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    lines = [
        f"{gpu}{machine['processor']}, {machine['cores']} cores ({machine['threads']} used), "
        f"{machine['memory_gb']} GB, bf16 instructions: {flags}; Python {machine['python']}, "
        f"{versions}.",
        "",
        "Matrix-product peak of this run: "
        + "; ".join(
            f"{precision} {peak['gflops']:,.0f} GFLOP/s at {' x '.join(map(str, peak['shape']))}"
            for precision, peak in peaks.items()
        )
        + ".",
        "",
    ]
    tuning = [_cells(row) for row in rows if row["phase"] != ENCODE]
    encoding = [_encoding_cells(row) for row in rows if row["phase"] == ENCODE]
    if tuning:
        lines += [
            *_laid_out(_COLUMNS, tuning),
            "",
            "x (a): over the published way of computing (fairseq layers, fp32, no cache); x (b): "
            "over peft prefix tuning on an OPT of the same size and precision.",
            "",
        ]
    if encoding:
        lines += [
            *_laid_out(_ENCODING_COLUMNS, encoding),
            "",
            "x (a): over GSLM's feature reader of fairseq, one utterance at a time, fp32. Units "
            "are the nearest of 100 k-means centroids of the frames of fp32.",
            "",
        ]
    lines.append(
        "The share of the peak counts only operations that are needed (benchmarks/operations.py)."
    )
    return "\n".join(lines) + "\n"


def _laid_out(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    cells = [columns, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    padded = ((c.ljust(width) for c, width in zip(row, widths, strict=True)) for row in cells)
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _ratio(row: Row, rows: Sequence[Row], contender: str, precision: str) -> float | None:
    same = {"contender": contender, "precision": precision}
    same |= {key: row[key] for key in ("model", "lengths", "phase")}
    for other in rows:
        if "error" not in other and all(other[key] == value for key, value in same.items()):
            return row["utterances_per_second"] / other["utterances_per_second"]
    return None


def _levels(row: Row, machine: Row) -> list[Row]:
    """The levels that an encoder or the 151M model must reach, and whether it does."""
    levels: list[Row] = []

    def ask(text: str, value: float | None, least: float, asked: bool = True) -> None:
        if value is not None:
            levels.append({"level": text, "holds": value >= least, "asked": asked})

    if machine.get("gpu"):
        if row["precision"] == "bf16" and row["phase"] != "infer" and row["model"] != "nano":
            ask(">= 40 % of peak", row["share_of_peak"], 0.4)
        return levels
    if row["phase"] == ENCODE:
        if row["precision"] == "bf16":
            ask(">= 3x (a)", row["over_published"], 3, has_bf16_matrix_units(machine))
            ask(">= 99 % of units", row["unit_agreement"], 0.99)
        else:
            ask(">= 1.3x (a)", row["over_published"], 1.3)
        return levels
    if row["model"] != "151M":
        return []
    keywords, training, bf16 = (
        row["lengths"] == "ks",
        row["phase"] == "train",
        row["precision"] == "bf16",
    )
    if training and keywords:
        if bf16:
            ask(">= 5x (a)", row["over_published"], 5, has_bf16_matrix_units(machine))
        else:
            ask(">= 80 % of peak", row["share_of_peak"], 0.8)
        ask("<= 3 GB", -row["peak_bytes"], -_LARGEST)
    if not training:
        ask(">= 20x (a)", row["over_published"], 20)
        if keywords and bf16:
            ask(">= 70 % of peak", row["share_of_peak"], 0.7)
    return levels


def _cells(row: Row) -> tuple[str, ...]:
    first: tuple[str, ...] = (row["model"], row["lengths"], row["phase"], row["precision"])
    first += (_NAMES[row["contender"]], str(row["batch"]))
    if "error" in row:
        return (*first, "failed", "", "", "", "", row["error"])
    rate = row["utterances_per_second"]
    return (
        *first,
        f"{rate:,.3g}" if rate < 100 else f"{rate:,.0f}",
        _number(row.get("over_published"), "{:.1f}"),
        _number(row.get("over_peft"), "{:.1f}"),
        _number(row.get("share_of_peak"), "{:.0%}"),
        f"{row['peak_bytes'] / 1e6:,.0f}",
        _told(row),
    )


def _encoding_cells(row: Row) -> tuple[str, ...]:
    first: tuple[str, ...] = (row["model"], row["lengths"], row["precision"])
    first = (*first, _NAMES[row["contender"]], str(row["batch"]))
    if "error" in row:
        return (*first, "failed", "", "", "", "", row["error"])
    return (
        *first,
        f"{row['real_time']:.1f}",
        _number(row.get("over_published"), "{:.2f}"),
        _number(row.get("share_of_peak"), "{:.0%}"),
        f"{row['peak_bytes'] / 1e6:,.0f}",
        _number(row.get("unit_agreement"), "{:.2%}"),
        _told(row),
    )


def _told(row: Row) -> str:
    return "; ".join(
        f"{level['level']} {'holds' if level['holds'] else 'missed'}"
        + ("" if level["asked"] else " (asked with bf16 matrix units only)")
        for level in row.get("levels", ())
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
