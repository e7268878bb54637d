"""What the overview shows of an utterance: outline, units, differences and probabilities."""

import base64
import colorsys
import json
import math
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from speechprompt.report.examples import EXAMPLES_SCHEMA
from speechprompt.storage.files import content_of
from speechprompt.storage.parquet import read_parquet
from speechprompt.tasks.classification import COLUMN_SEPARATOR, split_answer

__all__ = ["differences", "draw_outline", "draw_units", "read_utterances", "unit_colour"]

GOLDEN_ANGLE = 137.508  # neighbouring numbers get hues that are far apart
Spans = list[tuple[str, bool]]


def read_utterances(path: str | Path, n_columns: int | None) -> list[dict[str, Any]]:
    """Read the utterances of a task, in the form in which the page's template shows them.

    Args:
        path: Parquet file of :func:`~speechprompt.report.examples.choose_examples`.
        n_columns: number of label columns of a classification; None for texts, which are compared
            word by word.
    """
    with content_of(path):
        rows = read_parquet(path).select(EXAMPLES_SCHEMA.names).to_pylist()
    return [_shown(row, n_columns) for row in rows]


def differences(reference: str, hypothesis: str) -> tuple[Spans, Spans]:
    """Align two texts word by word.

    Returns:
        Pieces of both, and whether each piece differs from the other text.
    """
    words = reference.split(), hypothesis.split()
    matched = SequenceMatcher(None, *words, autojunk=False)
    sides: tuple[Spans, Spans] = ([], [])
    for tag, i, j, k, m in matched.get_opcodes():
        for side, part in zip(sides, (words[0][i:j], words[1][k:m]), strict=True):
            if part:
                side.append((" ".join(part), tag != "equal"))
    return sides


def unit_colour(unit: int) -> str:
    """The colour of a unit, as #rrggbb.

    Neighbouring numbers look different: a unit's number says nothing about its sound.
    """
    hue, lightness, saturation = unit * GOLDEN_ANGLE % 360, 42 + unit % 4 * 8, 40 + unit % 3 * 15
    parts = colorsys.hls_to_rgb(hue / 360, lightness / 100, saturation / 100)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def _shown(row: Mapping[str, Any], n_columns: int | None) -> dict[str, Any]:
    reference, prediction = row["reference"], row["prediction"]
    if n_columns is None:
        spans = differences(reference, prediction)
        name, length = "per character", max(len(prediction), 1)
    else:
        spans = _differing_columns(reference, prediction, n_columns)
        # Bars are as long as others beside names that are as long.
        name, length = "whole answer" if n_columns > 1 else prediction, 1
    own = {name: math.exp(min(row["score"], 0) / length)}
    shares = json.loads(row["probabilities"] or "null") or own
    audio = row["audio"]
    return {
        **{name: row[name] for name in ("utt_id", "speaker", "why", "reference", "prediction")},
        "right": reference == prediction,
        "spans": spans,
        "bars": [(label, share, _written(share)) for label, share in shares.items()],
        "seconds": row["seconds"],
        "outline": draw_outline(row["peaks"]) if row["peaks"] else "",
        "audio": audio and f"data:{row['audio_type']};base64,{base64.b64encode(audio).decode()}",
        "boxes": draw_units(
            *(row[name] for name in ("units", "durations", "seconds", "frame_rate"))
        ),
        "units": row["units"],
    }


def _differing_columns(reference: str, prediction: str, n_columns: int) -> tuple[Spans, Spans]:
    """The labels of both, with marks between them, and whether each of the prediction differs."""
    wanted, found = (split_answer(text, n_columns) for text in (reference, prediction))
    pairs = zip(found, wanted, strict=True) if prediction else ()
    marked = [(label, label != other) for label, other in pairs]
    mark = (COLUMN_SEPARATOR.strip(), False)
    sides = ([(label, False) for label in wanted], marked)
    shown, answered = ([part for one in side for part in (one, mark)][:-1] for side in sides)
    return shown, answered


def _written(share: float) -> str:
    return f"{share:.3f}" if share >= 0.0005 else "<0.001"


def draw_outline(peaks: Sequence[float]) -> str:
    """Draw a waveform's outline as an SVG path in a box of 1000 by 100.

    Args:
        peaks: loudest sample of each of equal parts, 0 to 1.
    """
    step = 1000 / len(peaks)
    top = [f"{i * step:.0f} {50 - 48 * peak:.0f}" for i, peak in enumerate(peaks)]
    bottom = [f"{i * step:.0f} {50 + 48 * peak:.0f}" for i, peak in enumerate(peaks)]
    return f"M{'L'.join([*top, *bottom[::-1]])}Z"


def draw_units(
    units: Sequence[int],
    durations: Sequence[int] | None,
    seconds: float | None = None,
    frame_rate: float | None = None,
) -> list[tuple[int, int, int]]:
    """Lay out units on a strip of 1000: start, width and number of each.

    Args:
        units: the units.
        durations: their durations in frames; without these all are equally wide.
        seconds: duration of the recording, which may be longer than its units.
        frame_rate: frames per second.
    """
    durations = durations or [1] * len(units)
    length: float = sum(durations)
    if seconds and frame_rate:
        length = max(length, seconds * frame_rate)
    boxes, start = [], 0
    for unit, duration in zip(units, durations, strict=True):
        left, right = (round(1000 * edge / max(length, 1)) for edge in (start, start + duration))
        boxes.append((left, max(right - left, 1), unit))
        start += duration
    return boxes
