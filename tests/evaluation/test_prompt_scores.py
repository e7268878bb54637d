"""Scores of a prompt: its answers, and how often free decoding gives none."""

import pyarrow.parquet as pq
import pytest

from random_models import CODEBOOK, TWO, random_units, task_model, write_lm
from speechprompt.config.tasks import DecodingSettings
from speechprompt.errors import ArtefactError
from speechprompt.evaluation.prompt_scores import score_prompt
from speechprompt.evaluation.scored_splits import ScoreFiles
from speechprompt.evaluation.scores import Metrics
from speechprompt.lm import load_lm
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.task_model import TaskModel
from speechprompt.storage.files import read_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.tasks.classification import Classification
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units

LABELS = Classification(("one", "two"), (("a", "b", "c"), ("d", "e")))
SINGLE = Classification(("one",), (("a", "b", "c", "d", "e"),))
UNITS = random_units(20)


def write_split(folder, name, codebook=CODEBOOK):
    part = folder / name / "part-00000-of-00001.parquet"
    part.parent.mkdir()
    rows = {"utt_id": [f"{name}-{i}" for i in range(len(UNITS))], "units": UNITS}
    rows |= {"one": ["a"] * len(UNITS), "two": ["e"] * len(UNITS)}
    metadata = UnitsMetadata("k", codebook, 20, True)
    write_units(part, rows, label_columns=["one", "two"], metadata=metadata)
    gather_units([part], folder / name / "index.json", corpus="c", split=name)
    return folder / name / "index.json"


@pytest.fixture
def scored(tmp_path):
    """Score a random prompt of some labels; return it, and the files."""

    def run(labels=LABELS, kind="frequency", codebook=CODEBOOK, more=None, known=None, **decoding):
        random = task_model("cpu", kind=kind, allowed=labels.allowed)
        lm = load_lm(write_lm(tmp_path / "lm.safetensors", scale=1.5), CODEBOOK)
        parts = (lm, random.prompt, random.verbalizer, labels.allowed)
        task = TaskModel(*parts, combinations=known)
        prompt = tmp_path / "prompt.safetensors"
        about = {"answers": labels.state(), "seed": 3, "training": {"epochs": 1}, **(more or {})}
        task.save(prompt, about)
        files = ScoreFiles(tmp_path / "predictions.parquet", tmp_path / "metrics.json")
        indexes = [write_split(tmp_path, name, codebook) for name in ("valid", "test")]
        settings = DecodingSettings(**decoding)
        score_prompt("t", prompt, tmp_path / "lm.safetensors", indexes, settings, files)
        return task, prompt, files

    return run


def test_predictions_are_those_of_the_model(scored):
    task, prompt, files = scored()
    assert task.allowed == TWO
    rows = pq.read_table(files.predictions).to_pylist()
    assert [row["split"] for row in rows] == ["valid"] * 20 + ["test"] * 20
    found = predict(task, UNITS)
    free = predict(task, UNITS, DecodingSettings(free=True))
    answers = [LABELS.decode(row) for row in found.labels]
    assert [row["prediction"] for row in rows] == answers * 2
    assert {row["reference"] for row in rows} == {"a | e"}
    assert [row["invalid"] for row in rows] == [int(not valid) for valid in free.valid] * 2
    assert 0 < sum(row["invalid"] for row in rows) <= 40
    # The last utterance has the units of the first.
    assert [row["is_repeat"] for row in rows] == ([False] * 19 + [True]) * 2
    metrics = read_json(files.metrics)
    assert metrics["seeds"] == [3]
    assert metrics["details"] == {"training": {"epochs": 1}}
    assert metrics["hashes"]["prompt"] == sha256_file(prompt)
    assert metrics["main"]["name"] == "acc"


def test_a_wrong_choice_of_combinations_is_told(scored, capsys):
    _, _, files = scored(LABELS, "learnable", known=[[0, 3], [1, 4]])
    answers = pq.read_table(files.predictions)["prediction"].to_pylist()[20:]
    new = sum(answer not in ("a | d", "b | e") for answer in answers)
    assert new > 0
    assert f"t, test: {new} of 20 answers are combinations" in capsys.readouterr().err


def test_references_that_no_known_combination_has_are_told(scored, capsys):
    scored(LABELS, "learnable", known=[[0, 3], [1, 4]], combinations="known")
    assert "t, test: 20 of 20 references are combinations" in capsys.readouterr().err


def test_calibration_by_the_temperature_of_the_training(scored):
    _, _, files = scored(SINGLE, "learnable", more={"temperature": 2.0})
    found = Metrics.read(files.metrics).calibration
    assert list(found) == ["valid", "test"]
    assert found["test"].temperature == 2
    assert found["test"].curve[0].answered == 1
    assert found["test"].curve[0].right == pytest.approx(read_json(files.metrics)["main"]["value"])


def test_columns_that_are_read_at_once_are_calibrated_together(scored):
    _, _, files = scored(LABELS, "learnable", more={"temperature": 2.0})
    found = Metrics.read(files.metrics).calibration["test"]
    assert found.curve[0].right == pytest.approx(read_json(files.metrics)["main"]["value"])
    assert found.error_before != found.error_after


@pytest.mark.parametrize("temperature", [0, -1.0, "hot", float("nan")])
def test_a_temperature_that_is_none_names_the_prompt(scored, temperature):
    with pytest.raises(ArtefactError, match=r"prompt\.safetensors: its content is not"):
        scored(SINGLE, "learnable", more={"temperature": temperature})


@pytest.mark.parametrize(
    ("labels", "more"), [(SINGLE, {}), (LABELS, {"temperature": 2.0})], ids=["earlier", "columns"]
)
def test_other_prompts_have_no_calibration(scored, labels, more):
    assert Metrics.read(scored(labels, more=more)[2].metrics).calibration == {}


def test_a_learnable_verbalizer_cannot_be_decoded_freely(scored):
    _, _, files = scored(SINGLE, "learnable")
    assert "invalid" not in pq.read_table(files.predictions).column_names


def test_units_of_another_codebook_are_refused(scored):
    with pytest.raises(ArtefactError, match="codebook"):
        scored(codebook="e" * 64)
