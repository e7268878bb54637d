"""What a scored split has in common with train is told, and scored apart."""

import pytest

from speechprompt.errors import CorpusError
from speechprompt.evaluation.constant_baseline import choose_constant_baseline
from speechprompt.evaluation.predictions import write_predictions
from speechprompt.evaluation.scored_splits import BaselineData, ScoreFiles
from speechprompt.evaluation.scores import Metrics, judge, write_metrics
from speechprompt.report.results_table import write_table
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units

METADATA = UnitsMetadata(codebook="km", codebook_sha256="ab" * 32, n_units=9, dedup=True)
# Units, label and speaker of each utterance. Two of test are in train by their units.
SPLITS = {
    "train": [([1, 2], "a", "Ann"), ([3], "a", "Bob"), ([4, 5], "b", None)],
    "valid": [([6], "a", None), ([7], "b", None)],
    "test": [([1, 2], "a", "Ann"), ([1], "a", "Cid"), ([2], "b", None), ([4, 5], "b", "Bob")],
}


def gather(tmp_path, split, **limits):
    units, labels, speakers = zip(*SPLITS[split], strict=True)
    part = tmp_path / split / "part.parquet"
    columns = {"utt_id": [f"{split}-{i}" for i in range(len(units))], "units": units}
    columns |= {"label": labels, "speaker": speakers}
    write_units(part, columns, label_columns=["label"], metadata=METADATA)
    index = part.with_name("index.json")
    gather_units([part], index, corpus="mine", split=split, **limits)
    return index


def test_units_of_train_in_another_split_are_counted_before_the_training(tmp_path, capsys):
    train = gather(tmp_path, "train")
    gather(tmp_path, "valid", train=train, max_repeated=0)
    assert "warning" not in capsys.readouterr().err
    gather(tmp_path, "test", train=train)
    assert "mine, test: 2 of 4 utterances have the same units as one of train" in (
        capsys.readouterr().err
    )
    gather(tmp_path, "test", train=train, max_repeated=0.5)
    with pytest.raises(CorpusError, match=r"2 of 4 utterances .* max_repeated = 0\.4 allows"):
        gather(tmp_path, "test", train=train, max_repeated=0.4)


@pytest.fixture
def scored(tmp_path):
    """Metrics of a baseline, and of a method that is right on what train has."""
    indexes = {split: gather(tmp_path, split) for split in SPLITS}
    data = BaselineData.read(
        indexes["train"], indexes["valid"], [indexes["test"]], "classification", ["label"]
    )
    files = ScoreFiles(tmp_path / "constant.parquet", tmp_path / "constant.json")
    constant = choose_constant_baseline("t", data, files)
    rows = {
        "utt_id": [f"test-{i}" for i in range(4)],
        "reference": ["a", "a", "b", "b"],
        "prediction": ["a", "b", "a", "b"],
        "score": [0.0] * 4,
        "is_repeat": [False] * 4,
    }
    about = {"task_type": "classification", "columns": ["label"], "method": "prompt"}
    write_predictions(tmp_path / "p.parquet", {"test": rows}, **about)
    metrics = write_metrics(
        tmp_path / "m.json",
        [tmp_path / "p.parquet"],
        task="t",
        method="prompt",
        baselines=[files.predictions],
    )
    assert Metrics.read(tmp_path / "m.json") == metrics
    return metrics, constant


def test_a_score_stands_beside_that_of_novel_utterances(scored):
    metrics, constant = scored
    assert metrics.in_train == constant.in_train == {"test": 2}
    found = metrics.splits["test"]
    assert (found["acc"].value, found["acc"].n) == (0.5, 4)
    assert (found["acc_novel"].value, found["acc_novel"].n) == (0.0, 2)
    assert metrics.floors["constant"]["test"]["acc_novel"].value == 0.5
    assert constant.splits["test"]["acc_novel"].value == 0.5
    assert metrics.gains["constant"]["test"]["acc_novel"].value == -0.5


def test_the_summary_says_what_train_has_too(scored):
    said = judge(scored[0])
    assert said[-2] == (
        "2 of 4 utterances of test have units of one of train: acc is 50.00 %, and "
        "0.00 % [0.00, 65.76] on the 2 novel ones."
    )
    assert said[-1] == "2 of 3 speakers of test are in train too (Ann, Bob)."


def test_the_table_has_a_row_for_novel_utterances(scored, tmp_path):
    write_table([tmp_path / "m.json"], tmp_path / "table.md")
    rows = (tmp_path / "table.md").read_text().splitlines()
    (novel,) = (row for row in rows if "acc_novel" in row)
    assert novel.startswith("| t | prompt | acc_novel | 0.00 [0.00, 65.76] | constant | 50.00 ")
