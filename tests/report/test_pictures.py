"""Unit statistics, pictures that can be read on a phone, and the overview page."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
import yaml
from matplotlib import pyplot as plt
from matplotlib.image import imread

from speechprompt.errors import ConfigError
from speechprompt.evaluation.predictions import write_predictions
from speechprompt.evaluation.scores import write_metrics
from speechprompt.report import fonts, overview
from speechprompt.report.examples import EXAMPLES_SCHEMA
from speechprompt.report.overview import write_overview
from speechprompt.report.pictures import (
    plot_codebook,
    plot_confusion,
    plot_curve,
    plot_error_by_length,
    plot_unit_statistics,
    save_figure,
)
from speechprompt.storage.files import read_json, write_json
from speechprompt.storage.package_data import data_file
from speechprompt.storage.parquet import write_parquet
from speechprompt.training.result import CurvePoint, curve_table
from speechprompt.units.codebook import write_codebook
from speechprompt.units.feature_files import FeatureMetadata
from speechprompt.units.statistics import DURATION_BINS, unit_statistics
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units

DOTS = 120 / 72  # pixels of a PNG for a point of an SVG
WIDEST = 640  # pixels: at 400 no letter shrinks to less than 5/8


def units_index(folder, durations=True):
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"utt_id": ["a", "b"], "units": [[3, 0, 3], [0]], "label": ["x", "y"]}
    if durations:
        columns["durations"] = [[1, 2, 70], [4]]
    metadata = UnitsMetadata("book", "0" * 64, 5, True, frame_rate=50.0 if durations else None)
    part = folder / "part-00000-of-00001.parquet"
    write_units(part, columns, label_columns=["label"], metadata=metadata)
    gather_units([part], folder / "index.json", corpus="c", split="train")
    return folder / "index.json"


def test_units_are_counted_by_hand(tmp_path):
    table = unit_statistics(units_index(tmp_path))
    assert table["count"].to_pylist() == [2, 0, 0, 2, 0]
    assert table["frames"].to_pylist() == [6, 0, 0, 71, 0]
    assert table["mean_frames"].to_pylist() == [3.0, 0.0, 0.0, 35.5, 0.0]
    histogram = np.array(table["durations"].to_pylist())
    assert histogram.sum() == 4
    assert histogram[0, [1, 3]].tolist() == [1, 1]
    assert histogram[3, [0, DURATION_BINS - 1]].tolist() == [1, 1]
    assert table.schema.metadata[b"frame_rate"] == b"50.0"


def test_ready_units_have_counts_only(tmp_path):
    index = units_index(tmp_path, durations=False)
    table = unit_statistics(index)
    assert table["count"].to_pylist() == [2, 0, 0, 2, 0]
    assert table["frames"].null_count == 5
    plot_unit_statistics(index, tmp_path / "statistics.png", "ready units")
    assert imread(tmp_path / "statistics.png").shape[1] <= WIDEST


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """The results of a run with one classification and one transcription, made by hand."""
    results = tmp_path_factory.mktemp("by-hand") / "results"
    rng = np.random.default_rng(0)
    summaries = []
    for task, kind, columns in (
        ("ks", "classification", ["label"]),
        ("asr", "transcription", ["text"]),
    ):
        words = [f"WORD {'AB'[i % 2]}{'C' * (i % 5)}" for i in range(40)]
        guessed = [words[i] if i % 3 else words[i - 1] for i in range(40)]
        rows = {
            "utt_id": [f"u{i}" for i in range(40)],
            "reference": words,
            "score": np.zeros(40),
            "is_repeat": [False] * 40,
        }
        about = {"task_type": kind, "columns": columns}
        baseline = results / task / "baseline" / "predictions.parquet"
        constant = {"test": rows | {"prediction": [words[0]] * 40}}
        write_predictions(baseline, constant, method="constant", **about)
        folder = results / task / "prompt" / "seed-1"
        made = folder / "predictions.parquet"
        write_predictions(made, {"test": rows | {"prediction": guessed}}, method="prompt", **about)
        summaries.append(results / task / "prompt" / "metrics.json")
        facts = {"baselines": [baseline], "trainable_parameters": 1234, "seeds": [1]}
        write_metrics(summaries[-1], [made], task=task, method="prompt", **facts)
        points = [CurvePoint(e, s, 2.0 / e, 0.5, 0.01) for e in (1, 2) for s in ("train", "valid")]
        write_parquet(folder / "curve.parquet", curve_table(points))
        plot_curve(folder / "curve.parquet", folder / "learning_curve.svg", task)
        if kind == "classification":
            plot_confusion(made, folder / "confusion_matrix.svg", task)
        else:
            plot_error_by_length([made], results / task / "error_by_length.svg", task)
    units, book = results / "units/book/c", results / "codebooks/book.safetensors"
    plot_unit_statistics(units_index(units / "train"), units / "statistics.svg", "book")
    write_codebook(book, rng.normal(size=(5, 8)), FeatureMetadata("mfcc", "e", None, 50.0, 8), {})
    plot_codebook(book, units / "statistics.parquet", book.with_suffix(".svg"), "book")
    task = {"lm": "l", "corpus": "c", "method": "prompt", "compare": []}
    setup = {
        "seeds": [1],
        "lm": {"l": {"codebook": "book"}},
        "tasks": {
            "ks": task
            | {"type": "classification", "labels": ["label"], "reported": {"prompt": 95.16}},
            "asr": task | {"type": "transcription", "labels": ["text"]},
        },
    }
    return results, setup


@pytest.fixture
def run(by_hand, tmp_path):
    """A copy of them, for a test to change."""
    results, setup = by_hand
    return shutil.copytree(results, tmp_path / "results"), deepcopy(setup)


def test_pictures_are_narrow(run):
    results, _ = run
    pictures = sorted(results.glob("**/*.svg"))
    assert len(pictures) == 6
    for picture in pictures:
        width = re.search(r'<svg [^>]*width="([\d.]+)pt"', picture.read_text())
        assert float(width[1]) * DOTS <= WIDEST, picture
        assert picture.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("names", [["$x_$", "$\\frac{1}$"], ["はい", "いいえ"], ["نعم", "لا"]])
def test_any_label_can_be_drawn(tmp_path, names):
    rows = {"utt_id": ["a", "b"], "reference": names, "prediction": names[::-1]}
    rows |= {"score": np.zeros(2), "is_repeat": [False] * 2}
    path, about = tmp_path / "p.parquet", {"task_type": "classification", "columns": ["label"]}
    write_predictions(path, {"test": rows}, method="prompt", **about)
    plot_confusion(path, tmp_path / "matrix.png", "any label")
    assert imread(tmp_path / "matrix.png").shape[1] <= WIDEST


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("columns", [["label"], ["action", "place" * 80]])
@pytest.mark.parametrize("n", [2, 30])
def test_long_labels_leave_room_for_the_cells(tmp_path, columns, n):
    path = tmp_path / "p.parquet"
    heights = []
    for length in (30, 400):
        names = [f"{i:02} {'turn it on ' * 40}"[: length - 1] + "x" for i in range(n)]
        written = [" | ".join([name, f"b{i % 2}"][: len(columns)]) for i, name in enumerate(names)]
        rows = {"utt_id": names, "reference": written, "prediction": written[::-1]}
        rows |= {"score": np.zeros(n), "is_repeat": [False] * n}
        about = {"task_type": "classification", "columns": columns, "method": "prompt"}
        write_predictions(path, {"test": rows}, **about)
        plot_confusion(path, tmp_path / "matrix.png", "long labels")
        height, width, _ = imread(tmp_path / "matrix.png").shape
        assert width <= WIDEST
        heights.append(height)
    assert heights[1] <= heights[0] + 60


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("turn on", "turn on"),
        ("turn on the lamp", "tur…mp"),
        ("WWWW", "WWWW"),
        ("WWWWWWWW", "W…W"),
        ("開燈關燈", "開燈關燈"),
        ("開燈關燈開", "開…開"),
        ("e\u0301" * 6, "e\u0301" * 6),
    ],
)
def test_long_texts_have_an_ellipsis_in_their_middle(text, found):
    assert fonts.shortened(text, 4.5) == found
    assert fonts.text_width(found) <= 4.5


@pytest.mark.parametrize("name", ["x.txt", "x", "x.parquet"])
def test_a_picture_has_the_ending_of_one(tmp_path, name):
    figure = plt.figure()
    with pytest.raises(ConfigError, match=rf"{name}: expected a picture's name that ends in"):
        save_figure(figure, tmp_path / name)
    plt.close(figure)
    assert not list(tmp_path.iterdir())


def test_pictures_are_drawn_whatever_the_users_settings(tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.dpi: 7\n")
    rows = {"utt_id": ["a", "b"], "reference": ["x", "y"], "prediction": ["y", "x"]}
    rows |= {"score": np.zeros(2), "is_repeat": [False] * 2}
    about = {"task_type": "classification", "columns": ["label"], "method": "prompt"}
    write_predictions(tmp_path / "p.parquet", {"test": rows}, **about)
    words = ["plot-confusion", "p.parquet", "--out", "theirs.png", "--title", "t"]
    code = f"from speechprompt.cli import main; main({words})"
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    plot_confusion(tmp_path / "p.parquet", tmp_path / "ours.png", "t")
    assert (tmp_path / "theirs.png").read_bytes() == (tmp_path / "ours.png").read_bytes()


def test_labels_without_letters_in_any_font_are_numbers_and_code_points(monkeypatch):
    monkeypatch.setattr(fonts, "_fonts_with", lambda letters: ())
    assert fonts.drawable(["yes", "はい", "いいえ-x"]) == [
        "yes",
        "2: U+306F U+3044",
        "3: U+3044 U+3044 U+3048 …",
    ]
    assert fonts.drawable(["cost: $5", "$a$"]) == [r"cost: \$5", r"\$a\$"]


def test_a_large_confusion_matrix_is_narrow_too(tmp_path):
    names = [f"increase / volume / bedroom {i}" for i in range(31)]
    rows = {"utt_id": names, "reference": names, "prediction": names[::-1]}
    rows |= {"score": np.zeros(31), "is_repeat": [False] * 31}
    path = tmp_path / "predictions.parquet"
    about = {"task_type": "classification", "columns": ["label"], "method": "prompt"}
    write_predictions(path, {"test": rows}, **about)
    plot_confusion(path, tmp_path / "matrix.png", "many")
    height, width, _ = imread(tmp_path / "matrix.png").shape
    assert width <= WIDEST
    # Answers that are nobody's reference are one column, however many, and no row.
    rows["prediction"] = [f"nobody {i}" for i in range(31)]
    write_predictions(path, {"test": rows}, **about)
    plot_confusion(path, tmp_path / "other.png", "many")
    assert abs(imread(tmp_path / "other.png").shape[0] - height) < 30


class Page(HTMLParser):
    """Collects what a page shows and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.images, self.loaded, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes)
        self.loaded += [attributes[key] for key in ("src", "href") if key in attributes]

    def handle_data(self, data):
        self.text += data


def test_the_overview_has_everything_and_loads_nothing(run, tmp_path):
    results, setup = run
    write_overview(results, setup, tmp_path / "overview.html")
    text = (tmp_path / "overview.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"https?://|url\(", text)
    assert all(target.startswith(("#", "data:")) for target in page.loaded)
    assert len(page.images) == 6
    assert all(image["alt"] for image in page.images)
    # ks: a third of 40 answers is wrong, which the page must show as the metrics have it.
    assert re.search(r"65\.00\s*%", page.text)
    assert "95.16" in page.text
    assert "1,234 parameters" in page.text
    # The transcription keeps two of three answers, which is far better than both baselines.
    assert "The prompt is worse than" not in page.text


def test_the_overview_says_in_words_where_a_baseline_is_better(run, tmp_path):
    results, setup = run
    path = results / "ks/prompt/metrics.json"
    metrics = read_json(path)
    (gains,) = metrics["gains"].values()
    gains["test"]["acc"] |= {"value": -0.1, "interval": [-0.15, -0.05]}
    write_json(path, metrics)
    write_overview(results, setup, tmp_path / "overview.html")
    page = Page((tmp_path / "overview.html").read_text(encoding="utf-8"))
    assert "The prompt is worse than the best constant answer: 65.00 %" in page.text
    assert "gain -10.00 [-15.00, -5.00]" in page.text
    assert yaml.safe_dump(setup, sort_keys=False) in page.text
    assert "torch" in page.text


def test_the_overview_shows_a_sweep(run, tmp_path):
    results, setup = run
    (results / "sweep").mkdir()
    for name in ("parameters", "utterances", "choice"):
        (results / f"sweep/by_{name}.svg").write_bytes(name.encode())
    write_overview(results, setup | {"sweep": {"task": "ks"}}, tmp_path / "overview.html")
    page = Page((tmp_path / "overview.html").read_text(encoding="utf-8"))
    assert "#sweep" in page.loaded
    shown = [image["src"].split(",")[1] for image in page.images[-5:-2]]
    assert [base64.b64decode(content) for content in shown] == [
        *(b"parameters", b"utterances", b"choice"),
    ]


@pytest.mark.parametrize("columns", [["label"], ["action", "object"]])
def test_a_mark_between_columns_is_part_of_a_label_where_there_is_one_column(
    run, tmp_path, columns
):
    results, setup = run
    setup["tasks"]["ks"]["labels"] = columns
    row = dict.fromkeys(EXAMPLES_SCHEMA.names) | {
        **{"utt_id": "u0", "why": "random", "score": -1.0, "units": [3], "durations": [1]},
        **{"reference": "GO | ON", "prediction": "GO | OFF"},
    }
    examples = pa.Table.from_pylist([row], schema=EXAMPLES_SCHEMA)
    write_parquet(results / "ks/examples.parquet", examples)
    write_overview(results, setup, tmp_path / "overview.html")
    text = (tmp_path / "overview.html").read_text(encoding="utf-8")
    classes = re.search(r'<select name="label">(.*?)</select>', text, re.DOTALL)[1]
    found = re.findall("<option>(.*?)</option>", classes), re.findall("<mark>(.*?)</mark>", text)
    (bar,) = re.findall('<div class="bars"><span>(.*?)</span>', text)
    assert f'<section class="task" data-columns="{len(columns)}">' in text
    if len(columns) == 1:
        assert (*found, bar) == (["GO | ON"], ["GO | OFF"], "GO | OFF")
    else:
        assert (*found, bar) == (["GO", "ON"], ["OFF"], "whole answer")


def test_what_results_say_cannot_break_the_page(run, tmp_path):
    results, setup = run
    setup["tasks"]["ks"]["corpus"] = "<script>alert(1)</script>"
    results_of = results / "units/book/<script>alert(1)<"
    results_of.mkdir(parents=True)
    (results_of / "script>").mkdir()
    (results_of / "script>/statistics.svg").write_bytes(
        (results / "units/book/c/statistics.svg").read_bytes()
    )
    write_overview(results, setup, tmp_path / "overview.html", "<script>alert(2)</script>")
    text = (tmp_path / "overview.html").read_text(encoding="utf-8")
    script = data_file(overview.__file__, ".js").read_text(encoding="utf-8")
    before, own, after = text.partition(f"<script>\n{script}</script>")
    assert own
    assert "<script" not in before + after
