"""What all rules have, by the plan of a set-up that needs every one."""

import re

from pipeline import REPOSITORY


def test_the_rules_load_no_framework(planned_jobs):
    heavy = {"torch", "torchaudio", "sklearn", "fairseq", "matplotlib", "transformers"}
    assert not heavy & set(planned_jobs["modules"])


def test_every_rule_has_a_log_and_a_benchmark_of_its_own(planned_jobs):
    for name, rule in planned_jobs["rules"].items():
        if name == "all":
            continue
        (log,), benchmark = rule["log"], rule["benchmark"]
        place = log.removeprefix("logs/").removesuffix(".log")
        assert place.split("/")[0] == name
        assert benchmark == f"benchmarks/{place}.tsv"
    rules = planned_jobs["rules"]
    assert rules["train_prompt"]["log"] == ["logs/train_prompt/{task}-{method}-{seed}.log"]
    assert rules["plot_lm_curve"]["log"] == ["logs/plot_lm_curve/{lm}.log"]
    assert rules["write_table"]["log"] == ["logs/write_table.log"]


def test_no_rule_computes(planned_jobs):
    """Rule files hold rules and what is set up for them: what they compute is in the package."""
    for path in sorted((REPOSITORY / "rules").glob("*.smk")):
        text = path.read_text()
        assert "lambda" not in text, path
        assert not re.search(r"^    run:", text, re.MULTILINE), path
        assert path.name == "plan.smk" or "def " not in text, path
