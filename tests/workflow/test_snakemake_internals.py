"""What Snakemake does not document is still there: if this fails, it was renamed."""

import subprocess
from types import SimpleNamespace

import pytest

from forkserver import programs
from speechprompt.errors import ConfigError
from speechprompt.workflow import snakemake_internals as internals

SNAKEFILE = """
from speechprompt.workflow import snakemake_internals as internals


def tell(name, value):
    print(f"{name}: {value}", file=sys.stderr)


class Display(logging.Handler):
    def is_hidden(self, record):
        return record.levelno < logging.WARNING

    def emit(self, record):
        tell(f"event {getattr(record, 'event', None)}", "seen")


if internals.is_main(workflow):
    tell("shown", internals.show_run(workflow, Display()))
    tell("complete", internals.is_complete(workflow, config))
    tell("folder", internals.folder_of_rules(workflow))
    tell("module", internals.is_module(workflow))
    tell("files", internals.config_files(workflow))
    tell("name", internals.setup_name(workflow))
    tell("words", "--cores" in internals.given_words(workflow))
    tell("cluster", internals.is_cluster(workflow))
    tell("storage", internals.has_storage(workflow))
    internals.offer(workflow, "mem_mb", 300)
    internals.offer(workflow, "gpu", 2)
    tell("offered", [workflow.global_resources[name].value for name in ("mem_mb", "gpu")])


def memory(wildcards, input):
    return sum(size for _, size in internals.sizes_of(input)) or 50


onstart:
    tell("wanting", internals.jobs_that_want(workflow, "gpu"))
    jobs, cores = internals.planned(workflow)
    tell("planned", (sorted(benchmark for _, benchmark in jobs), cores))
    tell("finished", internals.finished_files(workflow, "first"))
    tell("limited", workflow.scheduler.job_rate_limiter is not None)
    internals.lift_limit_on_starts(workflow)
    tell("limited then", workflow.scheduler.job_rate_limiter is not None)


rule last:
    input:
        "first.txt",
        "some-1.txt",
    output:
        "last.txt",
    resources:
        mem_mb=memory,
        gpu=1,
    shell:
        "true {log} last; echo {resources.mem_mb} > {output}"


rule first:
    output:
        "first.txt",
    shell:
        "true {log} first; printf '%120s' > {output}"


rule named:
    output:
        "{name,[a-z]{4}}-{number}.txt",
    shell:
        "echo {log} name {params.code} > {output}"


internals.complete_rules(workflow, "environment.yaml", "code of {}".format)
"""


@pytest.fixture
def told(tmp_path):
    """Run the Snakefile; what it says, by name."""
    (tmp_path / "Snakefile").write_text(f"import logging\nimport sys\n{SNAKEFILE}")
    (tmp_path / "own.yaml").write_text("{}")
    (tmp_path / "environment.yaml").write_text("dependencies: []")

    def run(*arguments):
        done = subprocess.run(
            [
                *(programs() / "snakemake", "--cores", "1", "--forceall"),
                *("--directory", str(tmp_path), "--snakefile", str(tmp_path / "Snakefile")),
                *arguments,
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(line.split(": ", 1) for line in done.stderr.splitlines() if ": " in line)

    return run


def test_every_function_works_in_a_run(told, tmp_path):
    found = told()
    assert (found["complete"], found["cluster"], found["storage"]) == ("False", "False", "False")
    assert (found["module"], found["files"]) == ("False", "[]")
    assert (found["folder"], found["words"]) == (str(tmp_path), "True")
    assert (found["name"], found["shown"]) == ("config", "True")
    benchmarks = ["benchmarks/first.tsv", "benchmarks/last.tsv", "benchmarks/named/some-1.tsv"]
    assert found["planned"] == str((benchmarks, 1))
    assert found["finished"] == "['first.txt']"
    for event in ("job_info", "job_finished", "progress"):
        assert f"event {event}" in found
    assert "rule last" not in found
    assert not any(line.startswith("localrule") for line in found)
    assert found["offered"] == "[300, 2]"
    assert found["wanting"] == "{'last'}"
    assert (found["limited"], found["limited then"]) == ("True", "False")
    assert (tmp_path / "last.txt").read_text() == "160\n"
    assert (tmp_path / "some-1.txt").read_text() == "logs/named/some-1.log name code of name\n"
    assert (tmp_path / "benchmarks/named/some-1.tsv").is_file()
    assert (tmp_path / "benchmarks/last.tsv").is_file()


def test_what_the_user_says_is_kept(told):
    found = told(
        *("--configfile", "own.yaml", "--resources", "mem_mb=200", "gpu=5"),
        *("--max-jobs-per-timespan", "7/1s"),
    )
    assert found["complete"] == "True"
    assert found["files"].endswith("own.yaml']")
    assert found["offered"] == "[200, 2]"
    assert found["limited then"] == "True"
    assert found["name"] == "own"


@pytest.mark.parametrize("option", ["--verbose", "--quiet=reason", "--dry-run"])
def test_snakemakes_own_messages_are_shown_to_those_who_ask(told, option):
    assert told(option)["shown"] == "False"


def test_a_name_that_is_gone_is_an_error():
    with pytest.raises(ConfigError, match="has no `is_main_process`"):
        internals.is_main(SimpleNamespace())
