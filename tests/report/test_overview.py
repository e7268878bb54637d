"""What stands on the overview beside pictures: the table, utterances, speakers, rejects."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from speechprompt.evaluation.predictions import write_predictions
from speechprompt.evaluation.scores import Metrics, write_metrics
from speechprompt.report.examples import EXAMPLES_SCHEMA
from speechprompt.report.overview import write_overview
from speechprompt.report.task_rows import TaskRow
from speechprompt.storage.files import read_json, write_json
from speechprompt.storage.parquet import write_parquet

N = 40


@pytest.fixture
def run(tmp_path):
    """Results of a transcription that is worse than its baseline, made by hand."""
    results = tmp_path / "results"
    texts = [f"GO {'ON' if i % 2 else 'OFF'}" for i in range(N)]
    rows = {"utt_id": [f"u{i}" for i in range(N)], "reference": texts, "score": np.zeros(N)}
    rows |= {"is_repeat": [False] * N, "speaker": [f"person {i % 3}" for i in range(N)]}
    about = {"task_type": "transcription", "columns": ["text"]}
    constant = results / "asr/baseline/constant/predictions.parquet"
    write_predictions(
        constant, {"test": rows | {"prediction": ["GO ON"] * N}}, method="constant", **about
    )
    folder = results / "asr/prompt/seed-1"
    wrong = {"test": rows | {"prediction": ["A B C D E"] * N}}
    write_predictions(folder / "predictions.parquet", wrong, method="prompt", **about)
    metrics = results / "asr/prompt/metrics.json"
    facts = {"baselines": [constant], "seeds": [1]}
    write_metrics(metrics, [folder / "predictions.parquet"], task="asr", method="prompt", **facts)
    for picture in ("asr/error_by_length", "asr/prompt/seed-1/learning_curve"):
        (results / f"{picture}.svg").write_text("<svg></svg>")
    units = results / "units/book/c"
    units.mkdir(parents=True)
    (units / "statistics.svg").write_text("<svg></svg>")
    setup = {
        "seeds": [1],
        "lm": {"l": {"codebook": "book"}},
        "tasks": {
            "asr": {
                **{"lm": "l", "corpus": "c", "method": "prompt", "compare": []},
                **{"type": "transcription", "labels": ["text"]},
                "reported": {"prompt": 34.17},
            }
        },
    }
    return results, setup


def shown(run, **options):
    results, setup = run
    out = results / "overview.html"
    write_overview(results, setup, out, **options)
    return out.read_text(encoding="utf-8")


def test_the_table_says_what_is_below_its_baseline(run):
    text = shown(run, name="mine")
    assert "<h1>SpeechPrompt: mine</h1>" in text
    assert "250.00 %" in text
    assert "below the baseline" in text
    assert "best constant answer 25.00 %" in re.sub(r"\s+", " ", text)
    assert "on another corpus" in text


def test_error_rates_run_to_the_right_where_they_get_better(run):
    results, _ = run
    metrics = Metrics.read(results / "asr/prompt/metrics.json")
    row = TaskRow.of({"prompt": metrics}, {("asr", "prompt"): 0.3417})
    places = {mark.kind: mark.place for mark in row.marks if "shuffled" not in mark.text}
    assert row.ends == (250, 0)
    assert row.place == places["own"] == 0.0
    assert places["paper"] == pytest.approx(100 * (1 - 0.3417 / 2.5), abs=0.01)
    assert row.marks[-1].kind == "own"
    assert row.order == 0


def test_scores_run_to_the_right_as_well(run):
    results, _ = run
    path = results / "asr/prompt/metrics.json"
    content = read_json(path)
    content |= {"floors": {}, "gains": {}}
    content["main"] |= {"value": 0.4, "higher_is_better": True}
    content["splits"]["test"]["wer"] |= {"value": 0.4, "interval": [0.3, 0.5]}
    write_json(path, content)
    row = TaskRow.of({"prompt": Metrics.read(path)}, {})
    assert (row.place, row.whisker) == (40.0, (30.0, 20.0))


def test_jobs_times_are_added_up(run):
    results, _ = run
    assert "jobs took" not in shown(run)
    folder = results.parent / "benchmarks/train_prompt"
    folder.mkdir(parents=True)
    (folder / "asr-1.tsv").write_text("s\th:m:s\n3600.0\t1:00:00\n")
    (folder / "asr-2.tsv").write_text("s\th:m:s\n120.5\t0:02:00\n")
    (folder / "cut.tsv").write_text("")
    assert "2 jobs took 1 h 2 min" in shown(run)


def test_speakers_and_rejected_recordings_are_listed(run):
    results, _ = run
    text = shown(run)
    assert "person 2" in text
    assert "Rejected recordings" not in text
    rejects = pa.table({"path": ["a<b.wav"], "split": ["train"], "reason": ["empty: no samples"]})
    write_parquet(results / "manifests/c/rejects.parquet", rejects)
    text = shown(run)
    assert "a&lt;b.wav" in text
    assert "empty: no samples" in text


def test_utterances_have_audio_units_and_marked_differences(run):
    results, _ = run
    assert 'class="utterance"' not in shown(run)
    row = dict.fromkeys(EXAMPLES_SCHEMA.names) | {
        **{"utt_id": "u0", "speaker": "person 0", "why": "confident error", "score": -1.0},
        **{"reference": "GO OFF", "prediction": "GO <ON>", "units": [3, 1], "durations": [1, 3]},
        **{"frame_rate": 50.0, "seconds": 0.08, "peaks": [0.5, 1.0], "audio": b"OggS"},
        "audio_type": "audio/ogg",
    }
    examples = pa.Table.from_pylist([row], schema=EXAMPLES_SCHEMA)
    write_parquet(results / "asr/examples.parquet", examples)
    text = shown(run)
    assert '<audio controls preload="none"' in text
    assert "data:audio/ogg;base64,T2dnUw==" in text
    assert "<mark>&lt;ON&gt;</mark>" in text
    assert "<option>person 0</option>" in text
    assert '<rect x="250" width="750"' in text
