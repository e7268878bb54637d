"""The pipeline as users run it: Snakemake on the small set-up of configs/ci.yaml."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import INSTALLED, REPOSITORY, call, options, planned, snakemake
from speechprompt.cli import main

pytestmark = pytest.mark.slow

RESULT_PATTERNS = (
    "results/manifests/**/*.parquet",
    "results/codebooks/*.safetensors",
    "results/units/**/*.parquet",
    "results/lm/*/model.safetensors",
    "results/ks/prompt.safetensors",
    "results/ks/model.json",
    "results/ks/predictions.parquet",
    "results/ks/metrics.json",
    "results/ks/acc.txt",
)


def hashes(directory):
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in RESULT_PATTERNS
        for path in sorted(Path(directory).glob(pattern))
    }


def test_every_artefact_is_there_and_readable(finished):
    assert 0 <= float((finished / "results/ks/acc.txt").read_text()) <= 100
    metrics = json.loads((finished / "results/ks/metrics.json").read_text())
    assert metrics["main"]["name"] == "acc"
    assert set(metrics["per_seed"]) == {"1", "2"}
    assert metrics["floors"]["ngram_logistic_regression"]["test"]["acc"]["n"] == 120
    predictions = pd.read_parquet(finished / "results/ks/predictions.parquet")
    assert {"utt_id", "reference", "prediction", "score", "errors"} <= set(predictions.columns)
    units = pd.read_parquet(
        finished / "results/units/mfcc50/keywords/train/part-00000-of-00002.parquet"
    )
    assert (units["durations"].map(sum) == units["n_frames"]).all()
    assert not any(hash_ for hash_ in (finished / "results/features").rglob("part-*.parquet"))
    for name in ("learning_curve.svg", "confusion_matrix.svg"):
        assert (finished / "results/ks/prompt/seed-1" / name).stat().st_size > 10_000
    for rule in ("extract_features", "train_prompt", "finish_task"):
        assert any((finished / "logs" / rule).iterdir())
        assert any((finished / "benchmarks" / rule).iterdir())


def test_predict_gives_the_predictions_of_the_finished_task(finished, tmp_path, capsys):
    """For every test file, from a copy of what prediction needs."""
    for name in ("ks", "codebooks", "lm"):
        shutil.copytree(finished / "results" / name, tmp_path / "moved/results" / name)
    expected = pd.read_parquet(finished / "results/ks/predictions.parquet")
    expected = expected[expected["split"] == "test"]
    manifest = pd.read_parquet(finished / "results/manifests/keywords/test.parquet")
    assert list(manifest["utt_id"]) == list(expected["utt_id"])
    files = [str(finished / "resources/corpora/keywords" / path) for path in manifest["path"]]
    (tmp_path / "list.txt").write_text("\n".join(files))
    task = str(tmp_path / "moved/results/ks")
    assert main(["predict", task, "--list", str(tmp_path / "list.txt")]) == 0
    found = pd.DataFrame(map(json.loads, capsys.readouterr().out.splitlines()))
    assert len(found) == 120
    assert list(found["file"]) == files
    assert list(found["answer"]) == list(expected["prediction"])
    assert np.allclose(found["score"], expected["score"], atol=1e-5, rtol=0)


def test_nothing_is_left_to_do(finished):
    assert planned(finished, "results/ks/acc.txt") == set()


def test_machine_and_cores_rerun_nothing(finished):
    overrides = ["--config", "device=cpu", "compute_threads=2"]
    assert planned(finished, "results/ks/acc.txt", "--cores", "1", *overrides) == set()


def test_a_downstream_model_is_compared_and_finished(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    model = "downstream: {normalize: true, lr: 0.01, max_epochs: 4}"
    compared = [
        "--cores",
        "2",
        "--config",
        "seeds=[1]",
        f"tasks={{ks: {{compare: [downstream], {model}}}}}",
    ]
    snakemake(tmp_path / "run", *compared, "--", "results/table.md")
    table = pd.read_parquet(tmp_path / "run/results/table.parquet").set_index("method")
    assert list(dict.fromkeys(table.index)) == ["prompt", "downstream"]
    assert set(table["baseline"]) == {"ngram_logistic_regression", "constant"}
    folder = tmp_path / "run/results/ks/downstream/seed-1"
    assert {path.name for path in folder.iterdir()} == {
        *("model.safetensors", "curve.parquet", "predictions.parquet", "metrics.json"),
    }
    weights = json.loads((folder / "metrics.json").read_text())["details"]["layer_weights"]
    assert weights == [1.0]
    configured = [
        "--cores",
        "2",
        "--config",
        "seeds=[1]",
        f"tasks={{ks: {{method: downstream, {model}}}}}",
    ]
    assert "train_downstream" not in planned(
        tmp_path / "run", *configured, "--", "results/ks/acc.txt"
    )
    snakemake(tmp_path / "run", *configured, "--", "results/ks/acc.txt")
    score = float((tmp_path / "run/results/ks/acc.txt").read_text())
    accuracy = table[table["metric"] == "acc"].loc["downstream", "value"].iloc[0]
    assert score == pytest.approx(100 * accuracy, abs=0.005)
    copy = tmp_path / "run/results/ks/model.safetensors"
    assert copy.read_bytes() == (folder / "model.safetensors").read_bytes()
    assert (folder / "confusion_matrix.svg").stat().st_size > 10_000


def test_a_sweep_is_one_table(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    sweep = "sweep={task: ks, spaces: [{length: [2], utterances: [24]}, {method: [finetune]}]}"
    settings = ["--config", "seeds=[1]", sweep]
    snakemake(tmp_path / "run", "--cores", "2", *settings, "--", "results/sweep/sweep.parquet")
    table = pd.read_parquet(tmp_path / "run/results/sweep/sweep.parquet").query("main")
    assert table["method"].tolist() == ["prompt", "finetune"]
    assert table["utterances"].tolist() == [24, 240]
    metrics = json.loads((finished / "results/ks/metrics.json").read_text())
    parameters = metrics["trainable_parameters"]
    # 20 rows in the task's own prompt, 2 here; the separator is in both.
    assert table["trainable_parameters"][table.index[0]] == (parameters - 64) // 10 + 64
    assert (tmp_path / "run/results/sweep/by_utterances.svg").stat().st_size > 5_000


def test_other_shards_give_the_same_units(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    before = units_of(finished)
    snakemake(
        tmp_path / "run",
        *("--cores", "2", "--config", "shards=3", "--"),
        "results/units/mfcc50/keywords/train/index.json",
    )
    assert units_of(tmp_path / "run") == before


def units_of(directory):
    """Units by utterance, read by the index as the next stage does."""
    from speechprompt.units.unit_files import read_units

    table = read_units(directory / "results/units/mfcc50/keywords/train/index.json")
    rows = dict(zip(table["utt_id"].to_pylist(), table["units"].to_pylist(), strict=True))
    assert len(rows) == table.num_rows
    return rows


def test_edits_rerun_what_they_touch(finished, tmp_path):
    """Same results folder, seen by a copy of the package with edits."""
    copy = tmp_path / "checkout"
    for name in ("src", "workflow", "rules", "configs", "envs"):
        shutil.copytree(REPOSITORY / name, copy / name)

    def plan():
        done = subprocess.run(
            [*INSTALLED, *options(finished, "-n", "results/ks/acc.txt", workflow=copy)],
            capture_output=True,
            text=True,
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy / "src")},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = (done.stdout + done.stderr).splitlines()
        return {line.split()[1].rstrip(":") for line in lines if line.startswith("rule ")}

    encoder = copy / "src/speechprompt/encoders/mfcc.py"
    text = encoder.read_text()
    encoder.write_text(text.replace('"""', '"""Reworded. ', 1) + "\n# a comment\n")
    assert plan() == set()
    encoder.write_text(text + "\nEDITED = 1\n")
    rerun = plan()
    assert {"extract_features", "fit_codebook", "train_prompt", "finish_task"} <= rerun
    assert not {"synthesise_corpus", "prepare_corpus"} & rerun
    encoder.write_text(text)
    report = copy / "src/speechprompt/report/pictures.py"
    report.write_text(report.read_text() + "\nEDITED = 1\n")
    assert plan() == {"plot_curve", "plot_confusion", "finish_task"}


def test_a_killed_run_on_one_core_continues_to_the_same_bytes(finished, tmp_path):
    arguments = ["--cores", "1", "results/ks/acc.txt"]
    process = subprocess.Popen(
        **call(tmp_path, *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("results/units/mfcc50/keywords/*/part-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    snakemake(tmp_path, "--unlock")
    snakemake(tmp_path, *arguments)
    assert hashes(tmp_path) == hashes(finished)


def test_a_configfile_is_a_complete_setup(tmp_path):
    own = tmp_path / "own.yaml"
    values = yaml.safe_load((REPOSITORY / "configs/ci.yaml").read_text())
    own.write_text(yaml.safe_dump(values | {"tasks": {"mine": values["tasks"]["ks"]}}))
    done = snakemake(tmp_path, "-n", "all", configfile=own)
    plan = done.stdout + done.stderr
    assert "results/mine/acc.txt" in plan
    assert "results/ks" not in plan
    assert "mfcc100" not in plan


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("sed=1", "sed: unknown key"),
        ("shards=many", "shards: Input should be a valid integer"),
        ("tasks={ks: {labels: [keyword]}}", "no label column 'keyword'; it has: label, speaker"),
        ("tasks={units: {corpus: keywords, lm: tiny}}", "results/units is taken"),
    ],
)
def test_a_wrong_configuration_starts_no_job(tmp_path, override, expected):
    done = snakemake(tmp_path, "-n", "all", "--config", override, check=False)
    assert done.returncode
    assert expected in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_key_that_is_there_twice_starts_no_job(tmp_path):
    setup = tmp_path / "twice.yaml"
    setup.write_text((REPOSITORY / "configs/ci.yaml").read_text() + "\nseed: 2\nseed: 3\n")
    done = snakemake(tmp_path, "-n", "all", configfile=setup, check=False)
    assert done.returncode
    assert "the key 'seed' is there already" in done.stdout + done.stderr


def test_another_workflow_may_use_this_one_as_a_module(tmp_path):
    """It passes the set-up; its own config.yaml is not read, and a prefix moves all files."""
    (tmp_path / "config.yaml").write_text("samples: [a, b]\n")
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/Snakefile").write_text(f"""
import yaml
configfile: "config.yaml"
module speech:
    snakefile: "{REPOSITORY}/workflow/Snakefile"
    prefix: "speech"
    config: yaml.safe_load(open("{REPOSITORY}/configs/ci.yaml"))
use rule * from speech as speech_*
""")
    target = "speech/results/ks/acc.txt"
    done = snakemake(tmp_path, "-n", "-p", target, configfile=None, workflow=tmp_path)
    commands = [line for line in done.stdout.splitlines() if "speechprompt --log" in line]
    assert len(commands) > 20
    for command in commands:
        assert "speech/re" in command
        assert not re.search(r"[\s'=](results|resources|logs)/", command)


def test_units_are_measured_against_phones(tmp_path):
    """Without a task, a unit LM or a label: the corpus, two codebooks and their quality."""
    setup = tmp_path / "quality.yaml"
    setup.write_text("""
      corpora:
        sentences: {kind: synthetic, task: transcription, n_train: 30, n_valid: 4, n_test: 10}
      encoders:
        mfcc: {kind: mfcc, sample_corpora: [sentences]}
      codebooks:
        mfcc20: {encoder: mfcc, n_units: 20}
        mfcc80: {encoder: mfcc, n_units: 80}
      quality: {corpus: sentences, codebooks: [mfcc20, mfcc80]}
    """)
    assert "align_phones" not in planned(tmp_path, "all")
    snakemake(tmp_path, "--cores", "2", "all", configfile=setup)
    quality = tmp_path / "results" / "quality"
    table = pd.read_parquet(quality / "table.parquet")
    assert list(table["codebook"]) == ["mfcc20", "mfcc80"] * 2
    assert (table["encoder"] == "mfcc").all()
    for _, rows in table.groupby("frames"):
        few, many = rows.to_dict("records")
        assert few["pnmi"] < many["pnmi"]
        assert few["phone_purity"] < many["phone_purity"]
    assert (quality / "table.md").read_text().count("\n| ") == 6
    assert (quality / "quality.svg").stat().st_size > 10_000
    assert planned(tmp_path, "all", configfile=setup) == set()
