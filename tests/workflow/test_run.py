"""The short way to Snakemake, and what is said where a result or configuration does not exist."""

import pytest

from pipeline import REPOSITORY, snakemake
from speechprompt.cli import main
from speechprompt.config import parse_config, read_config
from speechprompt.errors import ConfigError
from speechprompt.workflow import run
from speechprompt.workflow.plan import Plan


@pytest.fixture(scope="module")
def setup():
    return parse_config(read_config(REPOSITORY / "config.yaml"))


def test_the_call_of_a_task(setup, monkeypatch, tmp_path):
    monkeypatch.chdir(REPOSITORY)
    call = run.snakemake_call(setup, ["ks", "asr"], REPOSITORY, cores=2)
    assert call == ["--cores", "2", "results/ks/acc.txt", "results/asr/wer.txt"]
    call = run.snakemake_call(setup, [], REPOSITORY, "mine.yaml", 1, dry_run=True)
    assert call == ["--cores", "1", "--dry-run", "--configfile", "mine.yaml"]
    monkeypatch.chdir(tmp_path)
    call = run.snakemake_call(setup, ["ks"], REPOSITORY, cores=2)
    assert call[2:4] == ["--snakefile", str(REPOSITORY / "workflow/Snakefile")]
    assert run.find_workflow() == REPOSITORY


def test_the_call_is_printed_and_made(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    setup = str(REPOSITORY / "configs/ci.yaml")
    assert main(["run", "ks", "--config", setup, "--cores", "1", "--dry-run"]) == 0
    found = capfd.readouterr()
    call, *_ = found.err.splitlines()
    assert call.startswith("snakemake --cores 1 --snakefile ")
    assert call.endswith(f"--dry-run results/ks/acc.txt --configfile {setup}")
    assert "train_prompt" in found.out + found.err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["kss"], "no task 'kss' in config.yaml; did you mean 'ks'? tasks: ks, ic, asr, sf"),
        (["ks", "--config", "none.yaml"], "none.yaml: no such configuration file"),
        (["ks", "--config", "confg.yaml"], "did you mean 'config.yaml'?"),
    ],
)
def test_a_wrong_task_or_file_is_one_line(words, expected, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    assert main(["run", *words]) == 1
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("results/kss/acc.txt", "no task 'kss' is configured; did you mean 'ks'? tasks: ks, ic"),
        ("results/xyzzy/acc.txt", "no task 'xyzzy' is configured; tasks: ks, ic, asr, sf"),
        ("results/ks/wer.txt", "the score of 'ks' is results/ks/acc.txt"),
    ],
)
def test_an_unknown_result_is_named(setup, word, expected):
    with pytest.raises(ConfigError, match=f"{word}: .*{expected.replace('?', '.')}"):
        Plan(setup).results.refuse_unknown(["--cores", "2", word])


def test_other_words_of_a_command_line_pass(setup):
    words = ["results/ks/acc.txt", "results/table.md", "results/units/x.png", "-n", "results/", "x"]
    Plan(setup).results.refuse_unknown(words)


def test_snakemake_names_the_nearest_task(tmp_path):
    done = snakemake(tmp_path, "-n", "results/kss/acc.txt", check=False)
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert "results/kss/acc.txt: no task 'kss' is configured; did you mean 'ks'?" in told
    assert "Traceback" not in told


def test_without_snakemake_a_run_says_so(monkeypatch, capsys):
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    assert main(["run", "ks"]) == 1
    assert "Snakemake is not installed" in capsys.readouterr().err
