"""The table of results: one row per task and method, as Markdown to read and Parquet to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from speechprompt.evaluation.metrics import Score, in_percent
from speechprompt.evaluation.scores import Metrics
from speechprompt.storage.files import read_json, write_text
from speechprompt.storage.parquet import write_parquet
from speechprompt.storage.tables import markdown_table

__all__ = ["write_table"]

HEADER = (
    "Percent, with 95 % bootstrap intervals over utterances; means over the seeds. A gain is how "
    "much better than the baseline the method is on the same utterances (paired): above 0 is "
    "better.\n"
)
COLUMNS = (
    *("task", "method", "metric", "result", "baseline", "its result", "gain"),
    *("utterances", "seeds", "trainable parameters", "reported"),
)


def write_table(
    metrics: Sequence[str | Path],
    out: str | Path,
    reported: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Write the table.

    Every baseline of a task and method has a line of its own in Markdown, and a row in Parquet. The
    metric is the task's main one; of a transcription the character error rate stands below it.

    Args:
        metrics: metrics.json of every task and method.
        out: Markdown file to write, in percent. Beside it goes a Parquet file, in fractions; null
            where there is none.
        reported: results that the paper reports, in percent, by task and method.
    """
    results = [Metrics.model_validate(read_json(path)) for path in metrics]
    rows = [row for result in results for row in _rows(result, reported or {})]
    write_text(out, f"{HEADER}\n{markdown_table(COLUMNS, map(_cells, rows))}")
    write_parquet(Path(out).with_suffix(".parquet"), pa.Table.from_pylist(rows, schema=_schema()))


def _rows(metrics: Metrics, reported: Mapping[str, Mapping[str, float]]) -> list[dict]:
    split, scores = list(metrics.splits.items())[-1]
    names = [metrics.main.name] + (["cer"] if metrics.main.name == "wer" else [])
    rows = []
    for name in names:
        known = reported.get(metrics.task, {}).get(metrics.method)
        shared = {
            "task": metrics.task,
            "method": metrics.method,
            "metric": name,
            **_spread("", scores[name]),
            "n_utterances": scores[name].n,
            "n_seeds": len(metrics.seeds),
            "trainable_parameters": metrics.trainable_parameters,
            "reported": known / 100 if known and name == metrics.main.name else None,
        }
        for baseline, floor in metrics.floors.items():
            gain = metrics.gains[baseline][split][name]
            beside = {
                "baseline": baseline,
                **_spread("baseline_", floor[split][name]),
                **_spread("gain_", gain),
            }
            rows.append(shared | beside)
        if not metrics.floors:
            rows.append(shared)
    return rows


def _spread(prefix: str, score: Score) -> dict[str, float]:
    low, high = score.interval
    return {f"{prefix}value": score.value, f"{prefix}low": low, f"{prefix}high": high}


def _cells(row: Mapping) -> list[str]:
    def percent(prefix: str) -> str:
        if row.get(f"{prefix}value") is None:
            return "–"
        return in_percent(row[f"{prefix}value"], (row[f"{prefix}low"], row[f"{prefix}high"]))

    parameters, known = row["trainable_parameters"], row["reported"]
    return [
        row["task"],
        row["method"],
        row["metric"],
        percent(""),
        row.get("baseline", "–").replace("_", " "),
        percent("baseline_"),
        percent("gain_"),
        str(row["n_utterances"]),
        str(row["n_seeds"]),
        "–" if parameters is None else f"{parameters:,}",
        "–" if known is None else f"{100 * known:.2f}",
    ]


def _schema() -> pa.Schema:
    text, number, whole = pa.string(), pa.float64(), pa.int64()
    triples = [
        (f"{prefix}{part}", number)
        for prefix in ("baseline_", "gain_")
        for part in ("value", "low", "high")
    ]
    return pa.schema(
        [
            ("task", text),
            ("method", text),
            ("metric", text),
            *((part, number) for part in ("value", "low", "high")),
            ("n_utterances", whole),
            ("n_seeds", whole),
            ("trainable_parameters", whole),
            ("reported", number),
            ("baseline", text),
            *triples,
        ]
    )
