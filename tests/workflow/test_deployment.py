"""What can be checked of the ways of deployment without conda and a container engine."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml


def pins(lines):
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def test_the_conda_environment_has_the_versions_of_the_lock(repository):
    lock = pins((repository / "envs/speechprompt.txt").read_text().splitlines())
    environment = yaml.safe_load((repository / "envs/speechprompt.yaml").read_text())
    python, pip, listed = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert set(listed["pip"]) == lock
    assert len(listed["pip"]) == len(lock)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in lock)


def test_the_package_declares_every_library_that_it_imports(repository):
    imported = set()
    for path in (repository / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.split(".")[0] for name in names}
    imported -= {"speechprompt", *sys.stdlib_module_names}
    distributions = packages_distributions()
    needed = {distributions[name][0].lower() for name in imported}
    declared = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["dependencies"]
    assert needed == {re.split("[<>=]", item)[0] for item in declared}
    pinned = pins((repository / "envs/speechprompt.txt").read_text().lower().splitlines())
    assert needed <= {pin.split("==")[0] for pin in pinned}


def test_every_rule_has_that_environment(planned_jobs):
    environments = {name: rule["environment"] for name, rule in planned_jobs["rules"].items()}
    assert environments.pop("all") is None
    assert set(environments.values()) == {"../envs/speechprompt.yaml"}


@pytest.mark.slow
def test_the_image_has_all_that_a_run_reads(repository, tmp_path):
    """What the Containerfile copies, in a folder by itself, plans the embedded set-up."""
    image = tmp_path / "image"
    image.mkdir()
    copied = re.findall(r"^COPY (.*) (\S+)$", (repository / "Containerfile").read_text(), re.M)
    for sources, target in copied:
        for source in sources.split():
            if (repository / source).is_dir():
                shutil.copytree(repository / source, image / target)
            else:
                shutil.copy(repository / source, image / target)
    ignored = (repository / ".dockerignore").read_text().splitlines()
    assert {f"!{source}" for sources, _ in copied for source in sources.split()} <= set(ignored)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(image / "workflow/Snakefile")),
            *("-n", "--directory", str(tmp_path / "data")),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(image / "src")},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rule train_prompt:" in done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
@pytest.mark.parametrize("home", ["/proc/nowhere", None])
def test_make_gives_snakemake_a_cache_where_there_is_no_home(repository, tmp_path, home):
    shown = [
        "make",
        "-s",
        "--no-print-directory",
        "--eval",
        "show:; @echo $$XDG_CACHE_HOME",
        "show",
    ]
    environment = {key: value for key, value in os.environ.items() if key != "XDG_CACHE_HOME"}
    environment["HOME"] = home or str(tmp_path)
    found = subprocess.run(
        shown, cwd=repository, env=environment, capture_output=True, text=True, check=True
    )
    expected = repository / ".snakemake/caches" if home else ""
    assert found.stdout.strip() == str(expected)


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_takes_another_set_up_and_names_one_that_is_missing(repository):
    call = ["make", "-n", "VENV=/nowhere", "results/ks/acc.txt"]
    options = {"cwd": repository, "capture_output": True, "text": True, "check": False}
    done = subprocess.run([*call, "CONFIG=configs/ci.yaml"], **options)
    assert "--configfile 'configs/ci.yaml' -- results/ks/acc.txt" in done.stdout
    done = subprocess.run([*call, "CONFIG=missing.yaml"], **options)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("*** missing.yaml: no such configuration file.  Stop.")
    assert done.stderr.count("\n") == 1
