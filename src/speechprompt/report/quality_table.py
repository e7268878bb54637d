"""The table that compares the quality of codebooks."""

from collections import ChainMap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.names import QUALITIES
from speechprompt.evaluation.phone_quality import METRICS, UnitQuality
from speechprompt.report.pictures import draw_unit_quality
from speechprompt.report.results_table import NUMBER, TEXT, WHOLE, percent_cell
from speechprompt.storage.files import content_of, read_json, write_text
from speechprompt.storage.parquet import write_parquet
from speechprompt.storage.tables import markdown_table

__all__ = ["compare_quality"]

HEADER = (
    "This table compares units with the phones of corpus `{corpus}`, split {split} "
    "({n_utterances:,} utterances). It has percentages with 95 % bootstrap intervals over "
    "utterances, over all frames ({all:,} with the first codebook) and over those of speech, "
    "without silence ({speech:,}). The gap closed is the share of what the first codebook's PNMI "
    "lacks to 100 that a codebook gains. All metrics are too high on few utterances, and more so "
    "with many units.\n"
)
COLUMNS = (
    *("frames", "codebook", "encoder", "layer", "K"),
    *(QUALITIES[name] for name in METRICS),
    "gap closed",
)
SCHEMA = pa.schema(
    dict.fromkeys(("frames", "codebook", "encoder"), TEXT)
    | dict.fromkeys(("layer", "n_units"), WHOLE)
    | {f"{name}{part}": NUMBER for name in METRICS for part in ("", "_low", "_high")}
    | {"gap": NUMBER, "n_frames": WHOLE, "n_utterances": WHOLE}
)


def compare_quality(measured: Sequence[str | Path], out: str | Path, picture: str | Path) -> None:
    """Compare the quality of codebooks, over all frames and over those of speech.

    Args:
        measured: JSON files of measure-units, one per codebook; the first codebook is the one that
            others are compared with.
        out: Markdown table to write, in percent; a Parquet table with fractions goes beside it. Its
            ``layer`` is null for encoders without layers, and ``gap`` for the first codebook.
        picture: picture to write.

    Raises:
        ArtefactError: the codebooks were measured on different utterances.
    """
    qualities = []
    for path in measured:
        with content_of(path):
            qualities.append(UnitQuality.model_validate(read_json(path)))
    first = qualities[0]
    for path, other in zip(measured, qualities, strict=True):
        if other.hashes["alignments"] != first.hashes["alignments"]:
            raise ArtefactError(
                f"{path}: measured on {other.corpus}/{other.split} with other phones than "
                f"{measured[0]}, on {first.corpus}/{first.split}; measure both again"
            )
    rows = [_row(item, first, frames) for frames in first.frames for item in qualities]
    header = HEADER.format(**dict(first), **first.n_frames)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_parquet(Path(out).with_suffix(".parquet"), table)
    write_text(out, f"{header}\n{markdown_table(COLUMNS, map(_cells, rows))}")
    draw_unit_quality(table, picture, "Units against phones")


def _row(item: UnitQuality, first: UnitQuality, frames: str) -> dict[str, Any]:
    ours, base = (quality.frames[frames] for quality in (item, first))
    lacking = 1 - base["pnmi"].value
    gap = (ours["pnmi"].value - base["pnmi"].value) / lacking if lacking else 0.0
    scores = [ours[name].columns(name, f"{name}_") for name in METRICS]
    return {
        "frames": frames,
        "codebook": item.codebook,
        "encoder": item.encoder,
        "layer": item.layer,
        "n_units": item.n_units,
        **dict(ChainMap(*scores)),
        "gap": None if item is first else gap,
        "n_frames": item.n_frames[frames],
        "n_utterances": item.n_utterances,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["frames"],
        row["codebook"],
        row["encoder"],
        "–" if row["layer"] is None else str(row["layer"]),
        f"{row['n_units']:,}",
        *(percent_cell(row, name, f"{name}_") for name in METRICS),
        "–" if row["gap"] is None else f"{100 * row['gap'] + 0.0:.2f}",
    ]
