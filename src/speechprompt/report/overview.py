"""The overview: one self-contained page of a run's results, for any width, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from speechprompt.evaluation.metrics import in_percent
from speechprompt.evaluation.scores import Metrics
from speechprompt.report.names import BASELINES, METHODS, METRICS
from speechprompt.storage.files import read_json, write_text
from speechprompt.storage.package_data import data_file
from speechprompt.storage.parquet import read_parquet

__all__ = ["write_overview"]

CAPTIONS = {
    "learning_curve": "Loss and accuracy on train and on valid, which decides when to stop. The "
    "dashed line marks the epoch that was kept: the one with the lowest loss on valid.",
    "confusion_matrix": "Answers on the scored split against references; a row adds up to 100 %. "
    "Answers that no utterance has as its reference share a column.",
    "error_by_length": "Character error rate against the length of the reference, with 95 % "
    "bootstrap intervals: the paper's “curse of long sequences”.",
    "by_parameters": "Against the number of trained parameters: a prompt has more with every row.",
    "by_utterances": "Against the utterances learnt from, drawn from the training split.",
    "by_choice": "Of every verbalizer and every unit LM that was tried.",
    "statistics": "Above: how much of the training split each unit covers. Below: how long an "
    "occurrence lasts. A codebook in good use has few rare units.",
    "codebook": "The centroids, neighbours beside each other (t-SNE; distances far apart mean "
    "nothing). Area: share of the frames. The most frequent units bear their number.",
    "quality": "Units against the phones that eSpeak NG gives for its own speech.",
}


class Figure(NamedTuple):
    """A picture as the page shows it."""

    uri: str
    title: str
    caption: str


def write_overview(results: str | Path, setup: Mapping[str, Any], out: str | Path) -> None:
    """Write the page.

    Args:
        results: folder of the results: ``table.parquet``, and of every task and method
            ``metrics.json`` and the first seed's pictures.
        setup: the configuration with all defaults, as JSON values.
        out: page to write.

    Raises:
        ArtefactError: a result cannot be read.
    """
    results = Path(results)
    tasks = [_task(results, name, task, setup) for name, task in setup["tasks"].items()]
    versions = {}
    for task in tasks:
        for metrics in task["metrics"]:
            versions |= metrics.versions
    template = data_file(__file__, ".html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template).render(
        in_percent=in_percent,
        rows=list(_rows(results, setup)),
        tasks=tasks,
        sweep=list(_sweep(results, setup)),
        units=list(_units(results, setup)),
        configuration=yaml.safe_dump(dict(setup), sort_keys=False, allow_unicode=True),
        versions=versions,
        seeds=setup["seeds"],
    )
    write_text(out, page)


def _rows(results: Path, setup: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Results, each with its baselines, in percent."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in read_parquet(results / "table.parquet").to_pylist():
        key = (row["task"], row["method"], row["metric"])
        if key not in found:
            parameters = row["trainable_parameters"]
            found[key] = {
                "task": row["task"],
                "method": METHODS[row["method"]],
                "metric": METRICS[row["metric"]],
                "lower_is_better": row["metric"] in ("wer", "cer"),
                "result": _percent(row, ""),
                "reported": row["reported"] and 100 * row["reported"],
                "utterances": row["n_utterances"],
                "parameters": "" if parameters is None else f"{parameters:,}",
                "baselines": [],
            }
        if row["baseline"]:
            found[key]["baselines"].append(
                {
                    "name": BASELINES.get(row["baseline"], row["baseline"].replace("_", " ")),
                    "result": _percent(row, "baseline_"),
                    "gain": _percent(row, "gain_"),
                }
            )
    yield from found.values()


def _percent(row: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {part: 100 * row[f"{prefix}{part}"] for part in ("value", "low", "high")}


def _task(
    results: Path, name: str, task: Mapping[str, Any], setup: Mapping[str, Any]
) -> dict[str, Any]:
    methods = list(dict.fromkeys([task["method"], *task["compare"]]))
    classification = task["type"] == "classification"
    pictures = ["confusion_matrix"] if classification else []
    figures = []
    if not classification:
        path = results / name / "error_by_length.png"
        figures.append(_figure(path, "error by length", "error_by_length"))
    for method in methods:
        folder = results / name / method / f"seed-{setup['seeds'][0]}"
        for picture in [*pictures, "learning_curve"]:
            title = f"{METHODS[method]}, {picture.replace('_', ' ')}"
            figures.append(_figure(folder / f"{picture}.png", title, picture))
    return {
        "name": name,
        "type": task["type"].replace("_", " "),
        "corpus": task["corpus"],
        "figures": figures,
        "metrics": [
            Metrics.model_validate(read_json(results / name / method / "metrics.json"))
            for method in methods
        ],
        "methods": [METHODS[method] for method in methods],
    }


def _sweep(results: Path, setup: Mapping[str, Any]) -> Iterator[Figure]:
    if setup.get("sweep"):
        for picture in ("by_parameters", "by_utterances", "by_choice"):
            title = f"sweep of {setup['sweep']['task']}, {picture.replace('_', ' ')}"
            yield _figure(results / f"sweep/{picture}.png", title, picture)


def _units(results: Path, setup: Mapping[str, Any]) -> Iterator[Figure]:
    """Usage of the units that tasks read, maps of their codebooks, and their quality."""
    pairs = dict.fromkeys(
        (setup["lm"][task["lm"]]["codebook"], task["corpus"]) for task in setup["tasks"].values()
    )
    for codebook in dict.fromkeys(codebook for codebook, _ in pairs):
        path = results / f"codebooks/{codebook}.png"
        if path.exists():  # a codebook of ready units has no centroids
            yield _figure(path, f"codebook {codebook}", "codebook")
    for codebook, corpus in pairs:
        path = results / f"units/{codebook}/{corpus}/statistics.png"
        yield _figure(path, f"units of {codebook} in {corpus}", "statistics")
    if setup.get("quality"):
        yield _figure(results / "quality/quality.png", "quality of units", "quality")


def _figure(path: Path, title: str, caption: str) -> Figure:
    content = base64.b64encode(path.read_bytes()).decode()
    return Figure(f"data:image/png;base64,{content}", title, CAPTIONS[caption])
