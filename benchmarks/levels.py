"""Ratios between measurements of one run, and whether the required levels hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.cases import (
    ENCODE,
    EXTRACT,
    INFER,
    OURS,
    PACK,
    PEFT,
    PUBLISHED,
    TRAIN,
    TRANSFORMERS,
)
from benchmarks.machine import has_bf16_matrix_units

__all__ = ["Row", "compare"]

Row = dict[str, Any]
# What is asked, the value, the least value, and whether it is asked of this machine.
Level = tuple[str, float | None, float, bool]

_LARGEST = 3e9
_MICROSECONDS = 20.0
# On a GPU: how many times the rate of peft, by phase and lengths.
_OVER_PEFT = {
    (TRAIN, "ks"): 2.0,
    (TRAIN, "asr"): 1.5,
    (INFER, "ks"): 3.0,
    (INFER, "asr"): 10.0,
}


def compare(rows: Sequence[Row], machine: Row, peaks: dict[str, Row]) -> list[Row]:
    """Add the ratios to the others, the share of the peak and the levels to our rows."""
    return [_compared(row, rows, machine, peaks) for row in rows]


def _compared(row: Row, rows: Sequence[Row], machine: Row, peaks: dict[str, Row]) -> Row:
    if row["contender"] != OURS or "error" in row:
        return row
    row = dict(row)
    row["over_published"] = _ratio(row, rows, contender=PUBLISHED, precision="fp32")
    row["over_peft"] = _ratio(row, rows, contender=PEFT)
    row["over_transformers"] = _ratio(row, rows, contender=TRANSFORMERS)
    if row["phase"] == EXTRACT:
        row["of_encoder"] = _ratio(row, rows, contender=OURS, phase=ENCODE)
    if "gflops" in row:
        peak = f"{row['precision']} laid out" if row["phase"] == ENCODE else row["precision"]
        row["share_of_peak"] = row["gflops"] / peaks[peak]["gflops"]
    row["levels"] = [
        {"level": text, "holds": value >= least, "asked": asked}
        for text, value, least, asked in _levels(row, machine)
        if value is not None
    ]
    return row


def _ratio(row: Row, rows: Sequence[Row], **other: str) -> float | None:
    """The rate over that of another row: the one of the same batch if there is one, or the best."""
    wanted = {key: row[key] for key in ("model", "lengths", "phase", "precision")} | other
    others = [
        found
        for found in rows
        if "error" not in found and all(found[key] == value for key, value in wanted.items())
    ]
    others = [found for found in others if found["batch"] == row["batch"]] or others
    if not others:
        return None
    rate = "real_time" if "real_time" in row else "utterances_per_second"
    return row[rate] / max(found[rate] for found in others)


def _levels(row: Row, machine: Row) -> Iterator[Level]:
    if row["phase"] == PACK:
        yield f"<= {_MICROSECONDS:.0f} us", -row["microseconds"], -_MICROSECONDS, True
    elif machine.get("gpu"):
        yield from _gpu_levels(row)
    elif row["phase"] == ENCODE:
        yield from _encoding_levels(row, machine)
    elif row["model"] == "151M" and row["phase"] in (TRAIN, INFER):
        yield from _tuning_levels(row, machine)


def _gpu_levels(row: Row) -> Iterator[Level]:
    """What every row in bf16 must reach, and the units of an encoder."""
    lengths, phase, bf16 = row["lengths"], row["phase"], row["precision"] == "bf16"
    if bf16 and (phase, lengths) in _OVER_PEFT:
        least = _OVER_PEFT[phase, lengths]
        yield f">= {least:g}x (b)", row["over_peft"], least, True
    if bf16 and phase == ENCODE:
        yield ">= 2x (c)", row["over_transformers"], 2, True
    largest = phase == TRAIN and row["model"] == "151M" and row["batch"] == 32
    if bf16 and lengths == "asr" and (largest or phase == ENCODE):
        yield ">= 40 % of peak", row["share_of_peak"], 0.4, True
    if phase == ENCODE:
        least = 0.99 if bf16 else 0.999
        yield f">= {100 * least:g} % of units", row["unit_agreement"], least, True


def _encoding_levels(row: Row, machine: Row) -> Iterator[Level]:
    if row["precision"] == "bf16":
        yield ">= 3x (a)", row["over_published"], 3, has_bf16_matrix_units(machine)
        yield ">= 99 % of units", row["unit_agreement"], 0.99, True
    else:
        yield ">= 1.3x (a)", row["over_published"], 1.3, True


def _tuning_levels(row: Row, machine: Row) -> Iterator[Level]:
    keywords, bf16 = row["lengths"] == "ks", row["precision"] == "bf16"
    if row["phase"] == TRAIN:
        if keywords and bf16:
            yield ">= 5x (a)", row["over_published"], 5, has_bf16_matrix_units(machine)
        elif keywords:
            yield ">= 80 % of peak", row["share_of_peak"], 0.8, True
        if keywords:
            yield "<= 3 GB", -row["peak_bytes"], -_LARGEST, True
        return
    yield ">= 20x (a)", row["over_published"], 20, True
    if keywords and bf16:
        yield ">= 70 % of peak", row["share_of_peak"], 0.7, True
