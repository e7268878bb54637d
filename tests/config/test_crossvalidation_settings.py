"""The settings of a cross-validation, and what they are refused with."""

import pytest

from base_config import PRETRAINED, changed, changed_block
from speechprompt.config import parse_config
from speechprompt.errors import ConfigError
from speechprompt.workflow.configuration import load_config


def crossvalidated(**changes):
    """A task with models that are there already, and another corpus."""
    values = changed("tasks.ks", {"corpus": "mine", "lm": "given", "crossvalidate": "speaker"})
    values["corpora"]["mine"] = {"kind": "fsdd"}
    values["codebooks"]["given"] = {"encoder": "mfcc", "weights": "a"}
    values["lm"]["given"] = {"codebook": "given", "weights": "b"}
    values["tasks"]["ks"] |= {"labels": ["digit"], **changes}
    return values


def test_crossvalidation_by_speaker_has_five_folds():
    task = parse_config(crossvalidated()).tasks["ks"]
    assert (task.crossvalidate.by, task.crossvalidate.folds) == ("speaker", 5)
    values = crossvalidated(crossvalidate={"folds": 4})
    assert parse_config(values).tasks["ks"].crossvalidate.folds == 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"crossvalidate": "words"}, r"tasks\.ks\.crossvalidate\.by: .*'speaker', found 'words'"),
        ({"crossvalidate": {"folds": 1}}, r"tasks\.ks\.crossvalidate\.folds: .* found 1"),
        ({"labels": ["speaker"]}, r"tasks\.ks\.crossvalidate: no speaker of test is in train"),
        ({"robustness": True}, r"tasks\.ks\.robustness: .* crossvalidate trains several"),
        (
            {"corpus": "words", "labels": ["label"], "lm": "sampled"},
            r"tasks\.ks\.crossvalidate: speakers of test would be in encoders\.mfcc\.sample_corp",
        ),
        (
            {"corpus": "ready", "lm": "ready", "labels": ["label"]},
            r"tasks\.ks\.crossvalidate: 'ready' holds units, which have splits of their own",
        ),
    ],
)
def test_what_cannot_be_crossvalidated_is_refused(changes, expected):
    values = crossvalidated(**changes)
    values["lm"]["ready"] = {"codebook": "other", "weights": "b"}
    values["lm"]["sampled"] = {"codebook": "k100", "weights": "b"}
    with pytest.raises(ConfigError, match=expected):
        parse_config(values)


@pytest.mark.parametrize(
    ("section", "block", "expected"),
    [
        ("lm", {"codebook": "given", "corpora": ["mine"]}, r"lm\.x\.corpora"),
        ("lm", {"codebook": "given", "corpora": ["words"], "start": "y"}, r"lm\.y\.corpora"),
        ("encoders", PRETRAINED, r"encoders\.x\.pretraining\.corpora"),
    ],
)
def test_what_learns_before_the_prompt_must_not_hear_speakers_of_test(section, block, expected):
    values = crossvalidated(lm="x")
    values["lm"]["y"] = {"codebook": "given", "corpora": ["mine"]}
    if section == "encoders":
        values["encoders"]["x"] = changed_block(block, corpora=["mine"]) | {"layer": 1}
        values["codebooks"]["x"] = {"encoder": "x", "weights": "a"}
        values["lm"]["x"] = {"codebook": "x", "weights": "b"}
    else:
        values["lm"]["x"] = block
    with pytest.raises(
        ConfigError, match=f"crossvalidate: speakers of test would be in {expected}"
    ):
        parse_config(values)


def test_a_sweep_of_a_crossvalidated_task_is_refused():
    values = crossvalidated() | {"sweep": {"task": "ks", "spaces": [{"length": [5]}]}}
    with pytest.raises(ConfigError, match=r"sweep\.task: 'ks' is cross-validated"):
        parse_config(values)


def test_a_table_without_speakers_cannot_be_crossvalidated(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("path,split,digit\n1.wav,train,1\n")
    values = crossvalidated()
    values["corpora"]["mine"] = {"kind": "csv", "table": str(table)}
    values["lm"]["given"]["weights"] = "unit-lm-nano.safetensors"
    values["codebooks"]["given"]["weights"] = "hubert-nano-100.safetensors"
    expected = r"tasks\.ks\.crossvalidate: corpus 'mine' has no column 'speaker'; it has: digit"
    values["corpora"].pop("ready")
    values["codebooks"].pop("other")
    with pytest.raises(ConfigError, match=expected):
        load_config(values, tmp_path, complete=True)
