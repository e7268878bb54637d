"""The overview: one page with all results of a run, which needs no other file.

Its template, style, script and the captions of its pictures are data files. The template says what
is on the page.
"""

import base64
import csv
import datetime
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from speechprompt.evaluation.metrics import in_percent
from speechprompt.evaluation.names import METRICS, short_name
from speechprompt.evaluation.predictions import read_predictions
from speechprompt.evaluation.scores import Metrics, judge
from speechprompt.report.breakdown import by_speaker, confusions
from speechprompt.report.listening import read_utterances, unit_colour
from speechprompt.report.task_rows import TaskRow
from speechprompt.runtime.gpus import gpus, memory_mb
from speechprompt.storage.files import content_of, write_text
from speechprompt.storage.package_data import data_file, data_files
from speechprompt.storage.parquet import read_parquet
from speechprompt.tasks.classification import split_answer

__all__ = ["open_with_overview", "write_overview"]

Methods = Mapping[str, Metrics]

# What the style sheets in Snakemake's report say of themselves on every reader's console.
REMARK = re.compile(r'console\.warn\("cdn\.tailwindcss\.com[^"]*"\)')


def write_overview(
    results: str | Path, setup: dict[str, Any], out: str | Path, name: str = ""
) -> None:
    """Write the overview.

    Args:
        results: folder of the results, with ``metrics.json`` and the first seed's pictures of every
            task and method. Utterances to listen to, predictions, rejected recordings, and the
            benchmarks beside the folder are shown if they are there.
        setup: the configuration with all defaults, less the tasks that are not to be shown.
        out: HTML page to write.
        name: name of the set-up.

    Raises:
        ArtefactError: a result cannot be read.
    """
    results = Path(results)
    tasks = {
        task_name: {  # its own method first
            method: Metrics.read(results / task_name / method / "metrics.json")
            for method in dict.fromkeys([task["method"], *task["compare"]])
        }
        for task_name, task in setup["tasks"].items()
    }
    versions: dict[str, str] = {}
    for methods in tasks.values():
        for metrics in methods.values():
            versions |= metrics.versions
    captions = [path for path in data_files(__file__) if path.suffix == ".rst"]
    reported = _reported(setup["tasks"])
    blocks = setup["tasks"].values()

    def picture(path: str) -> str:
        content = base64.b64encode((results / path).read_bytes()).decode()
        return f"data:image/svg+xml;base64,{content}"

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = data_file(__file__, ".html").read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        METRICS=METRICS,
        short_name=short_name,
        in_percent=in_percent,
        judge=judge,
        picture=picture,
        unit_colour=unit_colour,
        exists=lambda path: (results / path).exists(),
        captions={path.stem.split(".")[-1]: path.read_text(encoding="utf-8") for path in captions},
        style=_plain(".css"),
        script=_plain(".js"),
        name=name,
        written_on=datetime.datetime.now().strftime("%-d %B %Y, %H:%M"),
        duration=_duration(results.parent / "benchmarks"),
        machine=_machine(),
        setup={"sweep": None, "quality": None, **setup},
        rows=[TaskRow.of(methods, reported) for methods in tasks.values()],
        reported=reported,
        tasks=tasks,
        **_breakdowns(results, setup, tasks),
        rejects=_rejects(results, [block["corpus"] for block in blocks]),
        units=list(dict.fromkeys((setup["lm"][t["lm"]]["codebook"], t["corpus"]) for t in blocks)),
        configuration=yaml.safe_dump(dict(setup), sort_keys=False, allow_unicode=True),
        versions=versions,
    )
    write_text(out, page)


def open_with_overview(report: str | Path, overview: str) -> None:
    """Let Snakemake's report open with the overview, which is one of its results.

    Args:
        report: the report, HTML.
        overview: the overview's name in the report, such as ``results/overview.html``.

    Raises:
        ArtefactError: the report has no such result.
    """
    with content_of(report):
        page = REMARK.sub("", Path(report).read_text(encoding="utf-8"))
        name = json.dumps(overview)
        before, end, after = page.rpartition("</body>")
        if f"{name}: {{" not in page and f"{name}:{{" not in page:
            raise ValueError(f"it has no {overview}; make everything first")
        # React makes the application a moment later.
        show = f"app.setView({{content: 'html', contentPath: results[{name}].data_uri}})"
        wait = f"const wait = setInterval(() => app && (clearInterval(wait), {show}), 20);"
        write_text(report, f"{before}<script>{wait}</script>\n{end}{after}")


def _plain(suffix: str) -> Any:
    """The page's style or script, which no result is a part of."""
    from markupsafe import Markup

    return Markup(data_file(__file__, suffix).read_text(encoding="utf-8"))


def _reported(tasks: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """What the paper reports, by task and method, as fractions."""
    return {
        (name, method): percent / 100
        for name, task in tasks.items()
        for method, percent in task.get("reported", {}).items()
    }


def _breakdowns(
    results: Path, setup: Mapping[str, Any], tasks: Mapping[str, Methods]
) -> dict[str, Any]:
    """By task: utterances and their filters, confusion matrices, speakers, and the main metric."""
    found: dict[str, dict[str, Any]] = {
        key: {} for key in ("utterances", "filters", "matrices", "speakers", "main")
    }
    for name, methods in tasks.items():
        task = setup["tasks"][name]
        is_text = task["type"] != "classification"
        found["main"][name] = methods[task["method"]].main.name
        examples = results / name / "examples.parquet"
        if examples.is_file():
            n_columns = None if is_text else len(task["labels"])
            found["utterances"][name] = read_utterances(examples, n_columns)
            found["filters"][name] = _filters(found["utterances"][name], n_columns)
        predictions = results / name / task["method"] / f"seed-{setup['seeds'][0]}"
        predictions = predictions / "predictions.parquet"
        if predictions.is_file():
            table = read_predictions(predictions)
            found["speakers"][name] = by_speaker(table)
            if not is_text:
                found["matrices"][name] = confusions(table)
    return found


def _filters(
    utterances: Sequence[Mapping[str, Any]], n_columns: int | None
) -> dict[str, list[str]]:
    """What utterances can be filtered by, and the values."""
    found = {}
    if n_columns is not None:
        references = [split_answer(one["reference"], n_columns) for one in utterances]
        found["class"] = sorted({part for parts in references for part in parts})
    if speakers := sorted({one["speaker"] for one in utterances} - {None}):
        found["speaker"] = speakers
    return {**found, "right": ["right", "wrong"]}


def _rejects(results: Path, corpora: Sequence[str]) -> list[dict[str, str]]:
    """The recordings that could not be used, with their corpus."""
    paths = {
        corpus: results / "manifests" / corpus / "rejects.parquet"
        for corpus in dict.fromkeys(corpora)
    }
    return [
        {"corpus": corpus, **row}
        for corpus, path in paths.items()
        if path.is_file()
        for row in read_parquet(path, ["path", "split", "reason"]).to_pylist()
    ]


def _duration(benchmarks: Path) -> str:
    """How long all jobs took that the benchmarks know, in words; empty without any."""
    seconds, n_jobs = 0.0, 0
    for path in sorted(benchmarks.glob("*/*.tsv")):
        try:
            with path.open(encoding="utf-8", newline="") as file:
                seconds += float(next(csv.DictReader(file, delimiter="\t"))["s"])
        except (OSError, ValueError, KeyError, StopIteration):
            continue  # Snakemake's file, which another version may write otherwise
        n_jobs += 1
    if not n_jobs:
        return ""
    minutes = round(seconds / 60)
    time = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(minutes, 1)} min"
    return f"{n_jobs} jobs took {time}"


def _machine() -> str:
    """The processor, its cores, memory and GPUs; no name of the machine."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{cores} cores ({names[0] if names else model})", f"{memory_mb() / 1000:.0f} GB"]
    if n_gpus := len(gpus()):
        parts.append(f"{n_gpus} GPU{'s' if n_gpus > 1 else ''}")
    return ", ".join(parts)
