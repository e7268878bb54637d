"""The overview: one page with all results of a run, which needs no other file.

Its template and the captions of its pictures are data files. The template says what is on the page.
"""

import base64
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import jinja2
import yaml

from speechprompt.evaluation.metrics import in_percent
from speechprompt.evaluation.scores import Metrics, judge
from speechprompt.report.names import BASELINES, METHODS, METRICS
from speechprompt.report.results_table import SCHEMA
from speechprompt.storage.files import content_of, write_text
from speechprompt.storage.package_data import data_file, data_files
from speechprompt.storage.parquet import read_parquet

__all__ = ["write_overview"]


def write_overview(results: str | Path, setup: dict[str, Any], out: str | Path) -> None:
    """Write the overview.

    Args:
        results: folder of the results, with ``table.parquet``, and for every task and method
            ``metrics.json`` and the first seed's pictures.
        setup: the configuration with all defaults.
        out: HTML page to write.

    Raises:
        ArtefactError: a result cannot be read.
    """
    results = Path(results)
    tasks = {
        name: {  # its own method first
            method: Metrics.read(results / name / method / "metrics.json")
            for method in dict.fromkeys([task["method"], *task["compare"]])
        }
        for name, task in setup["tasks"].items()
    }
    versions: dict[str, str] = {}
    for methods in tasks.values():
        for metrics in methods.values():
            versions |= metrics.versions
    captions = [path for path in data_files(__file__) if path.suffix == ".rst"]
    with content_of(results / "table.parquet"):
        rows = read_parquet(results / "table.parquet").select(SCHEMA.names).to_pylist()
    blocks = setup["tasks"].values()

    def picture(path: str) -> str:
        content = base64.b64encode((results / path).read_bytes()).decode()
        return f"data:image/png;base64,{content}"

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = data_file(__file__, ".html").read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        METHODS=METHODS,
        METRICS=METRICS,
        BASELINES=BASELINES,
        in_percent=in_percent,
        judge=judge,
        picture=picture,
        exists=lambda path: (results / path).exists(),
        captions={path.stem.split(".")[-1]: path.read_text(encoding="utf-8") for path in captions},
        setup={"sweep": None, "quality": None, **setup},
        results=[list(rows) for _, rows in groupby(rows, itemgetter("task", "method", "metric"))],
        tasks=tasks,
        units=list(dict.fromkeys((setup["lm"][t["lm"]]["codebook"], t["corpus"]) for t in blocks)),
        configuration=yaml.safe_dump(dict(setup), sort_keys=False, allow_unicode=True),
        versions=versions,
    )
    write_text(out, page)
