"""All four tasks through the pipeline: one codebook, one unit LM, every answer made of units."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from pipeline import REPOSITORY, planned, snakemake

pytestmark = pytest.mark.slow

MODELS = {"hubert-nano.safetensors", "hubert-nano-100.safetensors", "unit-lm-nano.safetensors"}
SIZES = {"kind": "synthetic", "n_train": 48, "n_valid": 24, "n_test": 24}
CORPORA = {
    "words": SIZES,
    "commands": SIZES | {"task": "intent_classification"},
    "sentences": SIZES | {"task": "transcription"},
    # Enough of train for every character and slot type of the other splits.
    "requests": SIZES | {"task": "slot_filling", "n_train": 240},
}
SHORT = {"training": {"max_epochs": 1}, "finetuning": {"max_epochs": 1}, "lm": "tiny"}
TASKS = {
    "ks": SHORT | {"corpus": "words"},
    "ic": SHORT | {"corpus": "commands", "labels": ["action", "object", "location"]},
    "asr": SHORT
    | {"corpus": "sentences", "type": "transcription", "compare": ["finetune"]}
    | {"decoding": {"max_length": 12}},
    "sf": SHORT
    | {"corpus": "requests", "type": "slot_filling"}
    | {"decoding": {"beam": 2, "max_length": 12}},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Every configured task and the table, on tiny corpora."""
    folder = tmp_path_factory.mktemp("tasks")
    values = yaml.safe_load((REPOSITORY / "configs/ci.yaml").read_text())
    values |= {"shards": 1, "seeds": [1], "corpora": CORPORA, "tasks": TASKS}
    values["encoders"]["mfcc"] |= {"sample_corpora": list(CORPORA), "sample_frames": 4000}
    values["lm"]["tiny"] |= {"corpora": list(CORPORA), "max_epochs": 1}
    # Slots and their characters are more labels than 50 units can stand for.
    values["codebooks"]["mfcc50"]["n_units"] = 80
    setup = folder / "setup.yaml"
    setup.write_text(yaml.safe_dump(values))
    snakemake(folder, "--cores", "2", configfile=setup)
    return folder


def test_all_is_done(finished):
    assert planned(finished, configfile=finished / "setup.yaml") == set()


@pytest.mark.parametrize(
    ("score", "metric"),
    [("ks/acc.txt", "acc"), ("ic/acc.txt", "acc"), ("asr/wer.txt", "wer"), ("sf/f1.txt", "f1")],
)
def test_the_score_is_the_main_metric_in_percent(finished, score, metric):
    path = finished / "results" / score
    main = json.loads((path.parent / "metrics.json").read_text())["main"]
    assert main["name"] == metric
    assert path.read_text() == f"{100 * main['value']:.2f}\n"


def test_all_tasks_share_one_codebook_and_one_unit_lm(finished):
    hashes = [
        json.loads((finished / f"results/{task}/metrics.json").read_text())["hashes"]
        for task in TASKS
    ]
    assert len({entry["lm"] for entry in hashes}) == 1
    assert len({entry["codebook"] for entry in hashes}) == 1


def given_weights(setup, tasks):
    """The encoder, codebook and unit LM that tasks of a set-up share."""
    (lm,) = {setup["tasks"][task]["lm"] for task in tasks}
    codebook = setup["codebooks"][setup["lm"][lm]["codebook"]]
    encoder = setup["encoders"][codebook["encoder"]]
    return {block["weights"] for block in (setup["lm"][lm], codebook, encoder)}


@pytest.mark.parametrize("file", ["config.yaml", "configs/fsdd.yaml", "configs/fewshot.yaml"])
def test_the_tasks_share_the_models_that_ship(file):
    setup = yaml.safe_load((REPOSITORY / file).read_text())
    tasks = [name for name, task in setup["tasks"].items() if task["lm"] == "nano"]
    assert given_weights(setup, tasks) == MODELS
    if file == "config.yaml":
        assert set(tasks) == {"ks", "ic", "asr", "sf"}


def test_metrics_and_baselines_of_every_type(finished):
    expected = {
        "ks": ({"acc", "macro_f1", "invalid"}, {"ngram_logistic_regression", "constant"}),
        "ic": (
            {
                *("acc", "acc_action", "acc_object", "acc_location", "invalid"),
                *("macro_f1", "macro_f1_action", "macro_f1_object", "macro_f1_location"),
            },
            {"ngram_logistic_regression", "constant"},
        ),
        "asr": ({"wer", "cer"}, {"constant", "shuffled"}),
        "sf": ({"f1", "slot_value_cer", "wer", "cer"}, {"constant", "shuffled"}),
    }
    for task, (names, baselines) in expected.items():
        metrics = json.loads((finished / f"results/{task}/metrics.json").read_text())
        assert set(metrics["splits"]["test"]) == names, task
        assert set(metrics["floors"]) == set(metrics["gains"]) == baselines, task
        for score in metrics["splits"]["test"].values():
            low, high = score["interval"]
            assert low <= score["value"] <= high
            assert score["n"] == 24


def test_table_compares_methods(finished):
    table = pd.read_parquet(finished / "results/table.parquet")
    methods = table.groupby("task")["method"].unique().map(sorted).to_dict()
    assert methods == {
        "ks": ["prompt"],
        "ic": ["prompt"],
        "asr": ["finetune", "prompt"],
        "sf": ["prompt"],
    }
    assert (table["trainable_parameters"] > 0).all()
    text = (finished / "results/table.md").read_text()
    assert all(f"| {task} | " in text for task in TASKS)


def test_error_by_length_overlays_the_methods(finished):
    table = pd.read_parquet(finished / "results/asr/error_by_length.parquet")
    assert set(table["method"]) == {"prompt", "finetune", "constant"}
    assert (table.groupby("method")["n"].sum() == 24).all()
    for task in ("asr", "sf"):
        assert (finished / f"results/{task}/error_by_length.svg").stat().st_size > 10_000
