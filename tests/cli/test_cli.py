import inspect
import subprocess
import sys

import pytest
import yaml

from speechprompt.cli import build_parser, main
from speechprompt.cli.verb import find
from speechprompt.cli.verbs import VERBS
from speechprompt.config import parse_config, read_config


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_has_help(name, capsys):
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args([name, "--help"])
    assert left.value.code == 0
    assert VERBS[name].summary in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", sorted(VERBS))
def test_the_options_of_a_verb_are_the_parameters_of_its_functions(name):
    verb, subparser = VERBS[name], build_parser()
    parser = subparser._subparsers._group_actions[0].choices[name]
    verb.add_options(parser)
    given = {action.dest for action in parser._actions} - {"help"}
    known = given | verb.made.keys()
    # Set for the whole process where no function takes it, and put into the encoder's settings.
    unused = given - {"threads", "encoder_weights"}
    for function in verb.functions:
        parameters = inspect.signature(find(function)).parameters
        needed = {key for key, value in parameters.items() if value.default is value.empty}
        assert needed <= known, function
        unused -= parameters.keys()
    assert not unused
    assert all(action.help for action in parser._actions)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("COMPUTE_THREADS", "many"), ("COMPUTE_THREADS", "0"), ("DEVICE", "tpu")),
        *(("COMPUTE_THREADS", "1000000000"), ("COMPUTE_THREADS", "9" * 5000)),
        *(("LM_THREADS", "many"), ("LM_THREADS", "-1"), ("LM_THREADS", "")),
    ],
)
def test_a_wrong_variable_is_named(name, value, monkeypatch, capsys):
    monkeypatch.setenv(f"SPEECHPROMPT_{name}", value)
    with pytest.raises(SystemExit) as left:
        main(["predict", "results/ks", "a.wav"])
    assert left.value.code == 2
    assert f"SPEECHPROMPT_{name}: expected" in capsys.readouterr().err


def test_a_log_that_cannot_be_written_ends_no_work(capsys):
    assert main(["--log", "/dev/null/run.log", "check-config", "configs/ci.yaml"]) == 0
    assert "/dev/null/run.log: cannot be written" in capsys.readouterr().err


def test_what_a_verb_reads_is_not_written_over(tmp_path, capsys):
    units = tmp_path / "a.txt"
    units.write_text("a|1 2\n")
    (tmp_path / "link.txt").symlink_to(units)
    for out in (units, tmp_path / "link.txt"):
        assert main(["import-unit-lm", str(units), "--codebook", "c", "--out", str(out)]) == 1
        assert f"--out: {out} is read by this command" in capsys.readouterr().err
    assert units.read_text() == "a|1 2\n"


def test_help_imports_no_stage():
    code = "import sys; from speechprompt.cli import main; main(['predict', '--help'])"
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True
    )
    assert "recordings: files, folders" in " ".join(shown.stdout.split())
    imported = {line.rsplit("|")[-1].strip() for line in shown.stderr.splitlines()}
    assert "speechprompt.cli.verbs" in imported
    assert not imported & {"torch", "numpy", "pyarrow", "pydantic", "yaml"}


def test_an_error_is_one_line_and_in_the_log(tmp_path, capsys):
    log = tmp_path / "logs" / "a.log"
    files = ["gather-units", str(tmp_path / "no.parquet"), "--out", str(tmp_path / "index.json")]
    status = main(["--log", str(log), *files, "--corpus", "c", "--split", "train"])
    assert status == 1
    message = log.read_text()
    assert "no.parquet" in message
    assert "Traceback" not in message
    assert message.strip() in capsys.readouterr().err


def test_a_wrong_setting_names_its_option(tmp_path, capsys):
    out = ["--out", str(tmp_path)]
    settings = ["--settings", "{kind: csv, table: t.csv, valid_fraction: 2}"]
    status = main(["prepare-corpus", str(tmp_path), *settings, *out])
    assert status == 1
    assert "--settings: csv.valid_fraction" in capsys.readouterr().err


def test_check_config_prints_defaults(repository, capsys):
    assert main(["check-config", str(repository / "config.yaml")]) == 0
    assert "max_rejected: 0.01" in capsys.readouterr().out


def test_every_shipped_setup_is_right(repository):
    for path in sorted((repository / "configs").glob("*.yaml")):
        parse_config(read_config(path))


def test_check_config_looks_at_what_the_setup_starts_from(tmp_path, capsys):
    setup, table = tmp_path / "setup.yaml", tmp_path / "table.csv"
    values = {
        "corpora": {"mine": {"kind": "csv", "table": str(table)}},
        "codebooks": {"book": {"encoder": "mfcc"}},
        "encoders": {"mfcc": {"kind": "mfcc", "sample_corpora": ["mine"]}},
        "lm": {"small": {"codebook": "book", "corpora": ["mine"]}},
        "tasks": {"words": {"corpus": "mine", "lm": "small", "labels": ["wrd"]}},
    }
    setup.write_text(yaml.safe_dump(values))
    for content, expected in (
        (None, "corpora.mine.table: no such file"),
        ("path,split,word,speaker\n", "tasks.words.labels: corpus 'mine' has no label column"),
        ("path,split,word,speaker\n", "'wrd'; it has: word, speaker"),
        ("file,split,wrd\n", "expected the column 'path'"),
    ):
        if content is not None:
            table.write_text(content)
        assert main(["check-config", str(setup)]) == 1
        assert expected in capsys.readouterr().err
    table.write_text("path,split,wrd\n")
    assert main(["check-config", str(setup)]) == 0


@pytest.mark.parametrize("value", ["0", "-5", "1000000000", "9" * 5000, "many"])
def test_a_wrong_number_of_threads_is_refused(value, capsys):
    with pytest.raises(SystemExit):
        main(["predict", "results/ks", "a.wav", f"--compute-threads={value}"])
    assert "--compute-threads: expected a number above 0 and up to" in capsys.readouterr().err
