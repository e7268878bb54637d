"""The prompts that ship with the package: keywords and digits."""

import json

import pyarrow.parquet as pq
import pytest

from small_run import record
from speechprompt import load_predictor, load_task
from speechprompt.cli import main
from speechprompt.errors import ArtefactError
from speechprompt.models.shipped import TASKS
from speechprompt.storage.files import read_json
from speechprompt.storage.hashes import sha256_file


@pytest.mark.parametrize("task", TASKS)
def test_it_answers_by_its_name_before_any_training(task, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (recording,) = record(tmp_path / "audio", 1)
    assert main(["predict", task, str(recording)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["task"] == task
    assert len(answer["probabilities"]) == 12


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ks").mkdir()
    with pytest.raises(ArtefactError, match="ks: expected the folder of a finished task"):
        load_predictor("ks")


@pytest.mark.slow
def test_it_knows_keywords_of_new_voices(finished):
    manifest = pq.read_table(finished / "results/manifests/keywords/test.parquet").to_pylist()
    root = finished / "resources/corpora/keywords"
    answers = load_predictor("ks").predict([root / row["path"] for row in manifest])
    right = [a.answer == row["label"] for a, row in zip(answers, manifest, strict=True)]
    assert sum(right) / len(right) > 0.85


def test_it_knows_digits_of_people(shared_data):
    """Real recordings; the prompt has learnt from synthetic voices alone."""
    digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    files = sorted((shared_data / "fsdd").glob("*.wav"))[::10]
    answers = load_predictor("digits").predict(files)
    right = [a.answer == digits[int(file.name[0])] for a, file in zip(answers, files, strict=True)]
    assert len(right) == 200
    assert sum(right) / len(right) > 0.73


@pytest.mark.parametrize(("task", "least"), [("ks", 0.93), ("digits", 0.88)])
def test_its_score_is_that_of_the_prompt(task, least):
    folder = TASKS[task]
    metrics = read_json(folder / "metrics.json")
    assert metrics["main"]["value"] > least
    model = read_json(folder / "model.json")
    assert load_task(task).metrics.main.value == metrics["main"]["value"]
    assert model["prompt"]["sha256"] == sha256_file(folder / "prompt.safetensors")
