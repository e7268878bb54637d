"""The functions of verbs that print."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from speechprompt.cli.verb import ExitStatus
from speechprompt.errors import ConfigError
from speechprompt.runtime.progress import show

if TYPE_CHECKING:
    from speechprompt.evaluation.metrics import Score

__all__ = ["compare_units", "inspect", "pool_scores", "verify"]


def inspect(
    path: Path,
    rows: int = 5,
    utterance: str | None = None,
    picture: Path | None = None,
    root: Path | None = None,
    predictions: Path | None = None,
    as_json: bool = False,
) -> None:
    """Describe an artefact, or show one utterance of it.

    Args:
        path: Parquet, safetensors or JSON file, or a folder with an index or of a task.
        rows: number of first rows to show.
        utterance: show this utterance of a units file or index.
        picture: picture of the utterance to write, PNG.
        root: folder that the corpus's paths are relative to (default: the one in the manifest).
        predictions: predictions file to show in the picture.
        as_json: print JSON instead of text.
    """
    from speechprompt.inspect.artefacts import inspect_artefact
    from speechprompt.inspect.text import describe_inspection, describe_utterance
    from speechprompt.inspect.utterances import find_utterance, plot_utterance

    if utterance is None:
        if picture or root or predictions:
            raise ConfigError("--picture, --root and --predictions go with --utterance")
        found = inspect_artefact(path, rows)
        show(_json(asdict(found), indent=2) if as_json else describe_inspection(found))
        return
    shown = find_utterance(path, utterance)
    show(_json(shown.row) if as_json else describe_utterance(shown))
    if picture:
        plot_utterance(shown, picture, root=root, predictions=predictions)
    elif predictions or root:
        raise ConfigError("--root and --predictions go with --picture")


def _json(value: object, indent: int | None = None) -> str:
    """JSON that has the length of bytes, and as text what JSON cannot express, such as times."""

    def written(value: object) -> str:
        return f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)

    return json.dumps(value, indent=indent, default=written)


def verify(folder: Path = Path()) -> ExitStatus:
    """Check the files of a whole run by the hashes in them and in each other.

    Args:
        folder: folder of the run, or a part of it (default: this folder).

    Returns:
        The exit status: 1 if a file is damaged or missing.
    """
    from speechprompt.inspect.verification import STATES, verify_run

    counts = Counter[str]()
    for checked in verify_run(folder):
        counts[checked.state] += 1
        reason = f": {checked.reason}" if checked.reason else ""
        show(f"{checked.state:8} {checked.path}{reason}")
    show(", ".join(f"{counts[state]} {state}" for state in STATES))
    return ExitStatus(counts["damaged"] > 0)


def compare_units(ours: Path, reference: Path, shown: int = 5) -> None:
    """Print how far units agree with other units of the same recordings.

    Args:
        ours: index.json, units file (Parquet), or text in a form with names, such as "file|units".
        reference: units to compare with, in any of these forms.
        shown: number of differences to show.
    """
    from speechprompt.units import comparison

    show(comparison.describe_comparison(comparison.compare_units(ours, reference, shown)))


def pool_scores(predictions: Sequence[Path], against: Sequence[Path] | None = None) -> None:
    """Print the main metric over several predictions files together.

    Args:
        predictions: predictions files of disjoint utterances.
        against: other predictions files of the same utterances, to compare with.
    """
    from speechprompt.evaluation.metrics import in_percent
    from speechprompt.evaluation.pooling import pool_predictions, pooled_gain

    def told(score: "Score") -> str:
        return f"{in_percent(score.value, score.interval, ' %')} of {score.n}"

    show(told(pool_predictions(predictions)))
    if against:
        show(f"against: {told(pool_predictions(against))}")
        show(f"gain:    {told(pooled_gain(predictions, against))}")
