"""A cross-validated task through the rules: its folds, their pooled scores, and what is refused."""

import csv
import json

import pandas as pd
import pytest
import yaml

from pipeline import planned, snakemake
from small_run import record
from speechprompt.evaluation.pooling import pool_predictions, pooled_gain

pytestmark = pytest.mark.slow

SPEAKERS = ("ann", "bob", "cem", "dee")
FOLDS = range(1, len(SPEAKERS) + 1)
SMALL = {"layers": 1, "heads": 2, "dim": 16, "ffn": 32, "max_epochs": 1, "valid_share": 0.2}
SMALL |= {"codebook": "book", "corpora": ["others"], "pretraining_tasks": None}


def write_setup(folder):
    """Twelve recordings by each of four speakers, and others, which everything else learns from."""
    paths = record(folder / "wavs", 96)
    for table, start in (("mine", 0), ("others", 48)):
        with (folder / f"{table}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "split", "speaker", "label"])
            for i, path in enumerate(paths[start : start + 48]):
                split = ("train", "train", "test")[i // 2 % 3]
                label = ("no", "yes")[i % 2]
                writer.writerow([f"wavs/{path.name}", split, SPEAKERS[i // 12], label])
    setup = {
        "shards": 2,
        "corpora": {
            name: {"kind": "csv", "table": str(folder / f"{name}.csv"), "valid_fraction": 0.2}
            for name in ("mine", "others")
        },
        "encoders": {"mfcc": {"kind": "mfcc", "sample_corpora": ["others"]}},
        "codebooks": {"book": {"encoder": "mfcc", "n_units": 10}},
        "lm": {"tiny": SMALL},
        "tasks": {
            "words": {
                "corpus": "mine",
                "lm": "tiny",
                "crossvalidate": {"folds": len(SPEAKERS)},
                "training": {"max_epochs": 1, "warmup": 1},
                "prompt": {"length": 2},
            }
        },
    }
    path = folder / "setup.yaml"
    path.write_text(yaml.safe_dump(setup))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossvalidation")
    snakemake(folder, "--cores", "2", configfile=write_setup(folder))
    return folder


def test_every_recording_is_tested_once_by_a_prompt_that_never_heard_its_speaker(finished):
    for number, speaker in zip(FOLDS, SPEAKERS, strict=True):
        fold = finished / f"results/manifests/mine/fold-{number}-of-4"
        tables = {path.stem: pd.read_parquet(path) for path in fold.glob("*.parquet")}
        assert set(tables) == {"train", "valid", "test"}
        assert set(tables.pop("test")["speaker"]) == {speaker}
        assert speaker not in set(pd.concat(tables.values())["speaker"])
        for split in ("train", "valid", "test"):
            folder = finished / f"results/units/book/mine/fold-{number}-of-4/{split}"
            units = pd.concat(map(pd.read_parquet, folder.glob("part-*.parquet")))
            expected = pd.read_parquet(fold / f"{split}.parquet")["utt_id"]
            assert units["utt_id"].tolist() == expected.tolist()
    answers = pd.read_parquet(finished / "results/words/predictions.parquet")
    assert len(answers) == answers["utt_id"].nunique() == 48
    assert set(zip(answers["fold"], answers["speaker"], strict=True)) == {
        (str(number), speaker) for number, speaker in zip(FOLDS, SPEAKERS, strict=True)
    }


def test_scores_are_those_of_pool_scores(finished):
    words = finished / "results/words"
    metrics = json.loads((words / "metrics.json").read_text())
    ours = [words / f"fold-{n}/prompt/seed-1/predictions.parquet" for n in FOLDS]
    pooled = pool_predictions(ours)
    assert metrics["splits"]["test"]["acc"] == pooled.model_dump(mode="json")
    assert (words / "acc.txt").read_text() == f"{100 * pooled.value:.2f}\n"
    for name, method in (("ngram", "ngram_logistic_regression"), ("constant", "constant")):
        theirs = [words / f"fold-{n}/baseline/{name}/predictions.parquet" for n in FOLDS]
        floor, gain = (metrics[of][method]["test"]["acc"] for of in ("floors", "gains"))
        assert floor == pool_predictions(theirs).model_dump(mode="json")
        assert gain == pooled_gain(ours, theirs).model_dump(mode="json")
    for number, path in zip(FOLDS, ours, strict=True):
        assert metrics["per_fold"][str(number)] == pool_predictions([path]).model_dump(mode="json")


def test_the_page_shows_the_folds(finished):
    page = (finished / "results/overview.html").read_text()
    assert "By fold" in page
    assert "learning curve of the first fold" in page
    assert pd.read_parquet(finished / "results/table.parquet")["task"].unique() == ["words"]
    assert len(pd.read_parquet(finished / "results/words/examples.parquet")) > 0


def test_a_fold_can_be_finished_and_the_whole_has_no_prompt(finished):
    setup = finished / "setup.yaml"
    assert planned(finished, configfile=setup) == set()
    wanted = ["results/words/fold-2/acc.txt", "results/words/fold-2/overview.html"]
    assert {"describe_model", "finish_task"} <= planned(finished, wanted[0], configfile=setup)
    for target, expected in {
        "results/words/model.json": "crossvalidate, which trains one for every fold; that of the "
        "first is results/words/fold-1/model.json",
        wanted[1]: "No rule to produce",
    }.items():
        done = snakemake(finished, "-n", target, configfile=setup, check=False)
        assert done.returncode
        assert expected in done.stdout + done.stderr


def test_more_folds_than_speakers_stop_the_run(finished):
    values = yaml.safe_load((finished / "setup.yaml").read_text())
    values["tasks"]["words"]["crossvalidate"] = "speaker"
    setup = finished / "five.yaml"
    setup.write_text(yaml.safe_dump(values))
    target = "results/manifests/mine/fold-5-of-5/train.parquet"
    done = snakemake(finished, "--cores", "1", target, configfile=setup, check=False)
    assert done.returncode
    log = (finished / "logs/take_fold/mine/fold-5-of-5.log").read_text()
    assert "expected at least 5 speakers for as many folds, found 4 (ann, bob, cem, dee)" in log
