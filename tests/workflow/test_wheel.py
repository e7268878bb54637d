"""The wheel has the pipeline, and runs it where there is no checkout."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from pipeline import REPOSITORY

SOURCES = ("src", "workflow", "rules", "envs", "configs")
FILES = ("config.yaml", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What the wheel installs, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(REPOSITORY / name, folder / "checkout" / name, ignore=left_out)
    for name in FILES:
        shutil.copy(REPOSITORY / name, folder / "checkout")
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    subprocess.run([sys.executable, "-m", "pip", *build, folder / "checkout"], check=True)
    (wheel,) = folder.glob("*.whl")
    assert wheel.stat().st_size < 30e6
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_runs_the_pipeline(installed, tmp_path):
    # Not the checkout that this environment has installed as editable.
    program = f"import sys; sys.path.insert(0, {str(installed)!r})\n"
    program += "import speechprompt; from speechprompt.cli import main\n"
    program += f"assert speechprompt.__file__.startswith({str(installed)!r})\n"
    program += "sys.exit(main(['run', 'ks', '--dry-run', '--cores', '1']))"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"--snakefile {installed}/speechprompt/pipeline/workflow/Snakefile" in done.stderr
    assert "train_prompt" in done.stdout + done.stderr


def test_the_wheel_has_what_the_rules_name(installed):
    pipeline = installed / "speechprompt/pipeline"
    rules = "".join(path.read_text() for path in (pipeline / "rules").glob("*.smk"))
    captions = re.findall(r"src/speechprompt/report/data/[\w.]+\.rst", rules)
    assert len(captions) > 3
    assert all((pipeline / caption).is_file() for caption in captions)
    assert (pipeline / "envs/speechprompt.yaml").is_file()
    assert not list(pipeline.rglob("__pycache__"))
