"""The report of a run as Markdown that is also readable as plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.cases import (
    ENCODE,
    EXTRACT,
    INFER,
    OURS,
    PACK,
    PEFT,
    PRETRAIN,
    PUBLISHED,
    TRAIN,
    TRANSFORMERS,
)
from benchmarks.levels import Row

__all__ = ["markdown"]

_NAMES = {
    OURS: "this package",
    PUBLISHED: "(a) published",
    PEFT: "(b) peft",
    TRANSFORMERS: "(c) transformers",
}


def _number(key: str, form: str) -> Callable[[Row], str]:
    """A cell with a number of the row, or an empty one if it has none."""

    def cell(row: Row) -> str:
        value = row.get(key)
        return "" if value is None else form.format(value)

    return cell


def _rate(key: str, form: str = "{:,.0f}") -> Callable[[Row], str]:
    number = _number(key, form)
    return lambda row: "failed" if "error" in row else number(row)


def _few_digits(row: Row) -> str:
    if "error" in row:
        return "failed"
    rate = row["utterances_per_second"]
    return f"{rate:,.3g}" if rate < 100 else f"{rate:,.0f}"


def _computed_by(row: Row) -> str:
    whole = ", whole job" if row["phase"] == EXTRACT else ""
    return _NAMES[row["contender"]] + whole


def _megabytes(row: Row) -> str:
    return "" if "error" in row else f"{row['peak_bytes'] / 1e6:,.0f}"


def _level(row: Row) -> str:
    if "error" in row:
        return str(row["error"])
    return "; ".join(
        f"{level['level']} {'holds' if level['holds'] else 'missed'}"
        + ("" if level["asked"] else " (asked with bf16 matrix units only)")
        for level in row.get("levels", ())
    )


def _field(key: str) -> Callable[[Row], str]:
    return lambda row: str(row[key])


Columns = Mapping[str, Callable[[Row], str]]

_BEGIN: Columns = {"model": _field("model"), "lengths": _field("lengths")}
_PRECISION: Columns = {"precision": _field("precision")}
_END: Columns = {
    "of matrix peak": _number("share_of_peak", "{:.0%}"),
    "peak MB": _megabytes,
}
_COMPARED: Columns = {"computed by": _computed_by, "batch": _field("batch")}
_TUNING: Columns = {
    **_BEGIN,
    "phase": _field("phase"),
    **_PRECISION,
    **_COMPARED,
    "utt/s": _few_digits,
    "x (a)": _number("over_published", "{:.1f}"),
    "x (b)": _number("over_peft", "{:.1f}"),
    **_END,
    "level": _level,
}
_PRETRAINING: Columns = {
    **_BEGIN,
    **_PRECISION,
    "tokens per update": _field("batch"),
    "tokens/s": _rate("tokens_per_second"),
    **_END,
    "level": _level,
}
_ENCODING: Columns = {
    **_BEGIN,
    **_PRECISION,
    **_COMPARED,
    "x real time": _rate("real_time", "{:,.1f}"),
    "x (a)": _number("over_published", "{:.2f}"),
    "x (c)": _number("over_transformers", "{:.2f}"),
    "of encoder": _number("of_encoder", "{:.0%}"),
    **_END,
    "units as fp32": _number("unit_agreement", "{:.2%}"),
    "level": _level,
}
_PACKING: Columns = {
    "lengths": _field("lengths"),
    "batch": _field("batch"),
    "us per utterance": _rate("microseconds", "{:.1f}"),
    "level": _level,
}
_TABLES: tuple[tuple[str, tuple[str, ...], Columns], ...] = (
    ("Prompt training and inference:", (TRAIN, INFER), _TUNING),
    ("Pre-training of a unit LM:", (PRETRAIN,), _PRETRAINING),
    ("Encoding up to layer 6:", (ENCODE, EXTRACT), _ENCODING),
    ("Host time to build a batch of prompt training:", (PACK,), _PACKING),
)
_NOTES = {
    "x (a)": "x (a): over the published way of computing, with fairseq's layers in fp32: prompts "
    "without a cache, encoding by GSLM's feature reader, one utterance at a time.",
    "x (b)": "x (b): over peft's prefix tuning on an OPT of the same size and precision.",
    "x (c)": "x (c): over transformers' HubertModel of the same precision, with padded batches; it "
    "computes all 12 layers.",
    "of encoder": "of encoder: the rate of the job extract_features, which reads files and writes "
    "Parquet, over that of the encoder alone.",
    "units as fp32": "Units are the nearest of 100 k-means centroids of the frames of fp32 on the "
    "processor.",
    "of matrix peak": "The share of the peak counts only operations that are needed "
    "(benchmarks/operations.py).",
}


def markdown(rows: Sequence[Row], machine: Row, peaks: dict[str, Row]) -> str:
    """The report; a table leaves out columns that are empty."""
    lines = [_told(machine), ""]
    if peaks:
        told = (
            f"{precision} {peak['gflops']:,.0f} GFLOP/s at {' x '.join(map(str, peak['shape']))}"
            for precision, peak in peaks.items()
        )
        lines += ["Matrix-product peak of this run: " + "; ".join(told) + ".", ""]
    used: set[str] = set()
    for title, phases, columns in _TABLES:
        own = [row for row in rows if row["phase"] in phases]
        if own:
            columns = _not_empty(own, columns)
            used |= columns.keys()
            lines += [title, "", *_laid_out(own, columns), ""]
    lines += [f"- {note}" for column, note in _NOTES.items() if column in used]
    return "\n".join(lines) + "\n"


def _told(machine: dict[str, Any]) -> str:
    flags = ", ".join(machine["bf16_flags"]) or "none"
    gpu = f"{machine['gpu']}; " if machine.get("gpu") else ""
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    return (
        f"{gpu}{machine['processor']}, {machine['cores']} cores ({machine['threads']} used), "
        f"{machine['memory_gb']} GB, bf16 instructions: {flags}; Python {machine['python']}, "
        f"{versions}."
    )


def _not_empty(rows: Sequence[Row], columns: Columns) -> Columns:
    return {name: cell for name, cell in columns.items() if any(map(cell, rows))}


def _laid_out(rows: Sequence[Row], columns: Columns) -> list[str]:
    """The lines of a table."""
    cells = [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    padded = ((c.ljust(width) for c, width in zip(row, widths, strict=True)) for row in cells)
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
