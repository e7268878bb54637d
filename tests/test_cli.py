import pytest

from speechprompt.cli import build_parser, main
from speechprompt.cli.verb import VERBS


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_has_help(name, capsys):
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args([name, "--help"])
    assert left.value.code == 0
    assert VERBS[name].summary in " ".join(capsys.readouterr().out.split())


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
    status = main(["prepare-csv", "--table", "t.csv", "--valid-fraction", "2", *out])
    assert status == 1
    assert "--valid-fraction" in capsys.readouterr().err


def test_check_config_prints_defaults(repository, capsys):
    assert main(["check-config", str(repository / "config.yaml")]) == 0
    assert "max_rejected: 0.01" in capsys.readouterr().out


def test_check_config_of_every_shipped_setup(repository):
    for path in sorted((repository / "configs").glob("*.yaml")):
        assert main(["check-config", str(path)]) == 0, path
