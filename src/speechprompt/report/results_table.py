"""The table of results of all tasks and methods."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from speechprompt.evaluation.metrics import in_percent
from speechprompt.evaluation.scores import REPORTED_BESIDE, Metrics
from speechprompt.storage.files import write_text
from speechprompt.storage.parquet import write_parquet
from speechprompt.storage.tables import markdown_table

__all__ = ["percent_cell", "write_table"]

HEADER = (
    "This table has percentages with 95 % bootstrap intervals over utterances, as means over the "
    "seeds. A gain says how much better the method is than the baseline on the same utterances: "
    "above 0 it is better.\n"
)
COLUMNS = (
    *("task", "method", "metric", "result", "baseline", "its result", "gain"),
    *("utterances", "seeds", "trainable parameters", "reported"),
)
TEXT, NUMBER, WHOLE = pa.string(), pa.float64(), pa.int64()
SCHEMA = pa.schema(
    dict.fromkeys(("task", "method", "metric"), TEXT)
    | dict.fromkeys(("value", "low", "high"), NUMBER)
    | dict.fromkeys(("n_utterances", "n_seeds", "trainable_parameters"), WHOLE)
    | {"reported": NUMBER, "baseline": TEXT}
    | {f"{of}_{part}": NUMBER for of in ("baseline", "gain") for part in ("value", "low", "high")}
)


def write_table(
    metrics: Sequence[str | Path],
    out: str | Path,
    reported: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Write the table of results.

    It has a row for every task, method, metric and baseline. The metric is the task's main metric.
    Transcriptions have rows for the character error rate too, and classifications for macro-F1.
    Where units of some utterances occur in train, there is a row for the other utterances.

    Args:
        metrics: metrics.json of every task and method.
        out: Markdown table to write, in percent; a Parquet table with fractions goes beside it.
        reported: percentages that the paper reports, by task and method.
    """
    results = [Metrics.read(path) for path in metrics]
    rows = [row for result in results for row in _rows(result, reported or {})]
    write_text(out, f"{HEADER}\n{markdown_table(COLUMNS, map(_cells, rows))}")
    write_parquet(Path(out).with_suffix(".parquet"), pa.Table.from_pylist(rows, schema=SCHEMA))


def _rows(metrics: Metrics, reported: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Rows of a task and method."""
    split, scores = list(metrics.splits.items())[-1]
    rows = []
    main = metrics.main.name
    novel = [f"{main}_novel"] if f"{main}_novel" in scores else []
    for name in [main, *novel, *REPORTED_BESIDE.get(main, ())]:
        known = reported.get(metrics.task, {}).get(metrics.method)
        row = {
            "task": metrics.task,
            "method": metrics.method,
            "metric": name,
            **scores[name].columns(),
            "n_utterances": scores[name].n,
            "n_seeds": len(metrics.seeds),
            "trainable_parameters": metrics.trainable_parameters,
            "reported": known / 100 if known and name == main else None,
        }
        compared = [
            {
                "baseline": baseline,
                **scores_of_baseline[split][name].columns("baseline_value", "baseline_"),
                **metrics.gains[baseline][split][name].columns("gain_value", "gain_"),
            }
            for baseline, scores_of_baseline in metrics.floors.items()
        ]
        rows += [row | columns for columns in compared or [{}]]
    return rows


def percent_cell(row: Mapping[str, Any], value: str, prefix: str) -> str:
    """Write a value of a row with its interval in percent, or a dash where there is none.

    Args:
        row: columns of :meth:`~speechprompt.evaluation.metrics.Score.columns`, and others.
        value: column of the value.
        prefix: prefix of the interval's columns.
    """
    if row.get(value) is None:
        return "–"
    return in_percent(row[value], (row[f"{prefix}low"], row[f"{prefix}high"]))


def _cells(row: Mapping[str, Any]) -> list[str]:
    parameters, known = row["trainable_parameters"], row["reported"]
    return [
        row["task"],
        row["method"],
        row["metric"],
        percent_cell(row, "value", ""),
        row.get("baseline", "–").replace("_", " "),
        percent_cell(row, "baseline_value", "baseline_"),
        percent_cell(row, "gain_value", "gain_"),
        str(row["n_utterances"]),
        str(row["n_seeds"]),
        "–" if parameters is None else f"{parameters:,}",
        "–" if known is None else f"{100 * known:.2f}",
    ]
