"""Commands of the README and the pages are run from their own text.

``make`` and Snakemake say what they would do. What installs a system's packages, builds containers
or records is another program's, and does nothing here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
import soundfile

from forkserver import programs
from pipeline import REPOSITORY, link_sources
from small_run import RATE, record, sound

pytestmark = pytest.mark.slow

SHIPPED = REPOSITORY / "src/speechprompt/models/shipped"
BLOCK = re.compile(r"(?<=\n\n)(?:    .*\n|\n(?=    ))+")
COMMAND = re.compile(r"^(?:make|python|snakemake|speechprompt) ", re.MULTILINE)
# Conda is no package of the registry; servers and microphones have tests of their own.
ELSEWHERE = re.compile(r".*(?:--sdm conda|speechprompt demo|microphone|pre-commit).*\n")
# Where recordings lie is a user's to say.
RECORDINGS = "/path/to/recordings"


def blocks(page):
    """The indented blocks of a page."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [re.sub("^    ", "", block, flags=re.MULTILINE) for block in BLOCK.findall(text)]


def scripts(page):
    """Those that are for a shell; what a command prints is left out."""
    for block in blocks(page):
        lines = block.splitlines(keepends=True)
        asked = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        script = "".join(asked or lines)
        if COMMAND.search(script):
            yield ELSEWHERE.sub("", script)


def write_setup(folder, page, name):
    """The page's own set-up."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(next(block for block in blocks(page) if "\ntasks:\n" in block))


def for_readme(folder):
    write_setup(folder, "README.md", "mine.yaml")
    (folder / "mine/wavs").mkdir(parents=True)
    table = next(block for block in blocks("README.md") if block.startswith("path,"))
    (folder / "mine/table.csv").write_text(table)
    record(folder / "mine/wavs", 1, 1, "flac")[0].rename(folder / "mine/wavs/0001.flac")
    record(folder / "mine/wavs", 1, 2)[0].rename(folder / "mine/wavs/0002.wav")


def for_tutorial(folder):
    write_setup(folder, "docs/tutorial.md", "mine/setup.yaml")
    for i, wav in enumerate(record(folder / "spoken", 12)):
        wav.rename(wav.with_name(f"{i % 4}_{('theo', 'anna', 'ben')[i % 3]}_{i}.wav"))


def for_corpora(folder):
    rows = [f"{i}.wav,speaker{i % 10},{'yes' if i % 20 < 10 else 'no'}" for i in range(100)]
    (folder / "all.csv").write_text("\n".join(["path,speaker,label", *rows]) + "\n")


def for_inspect(folder):
    shutil.copytree(folder / "results/units", folder / "runs/first/results/units")
    export_units(folder)


def for_paper(folder):
    units = folder / "runs/paper/results/units/hubert100"
    units.mkdir(parents=True)
    (units / "speech_commands").symlink_to(folder / "results/units/mfcc50/keywords")
    export_units(folder)


def export_units(folder):
    """What another program might have made."""
    index = "results/units/mfcc50/keywords/test/index.json"
    run(f"speechprompt export-units {index} --form gslm --out theirs.txt", folder)


def for_models(folder):
    """A set-up of one's own, and a run with rows in front, as the paper has them."""
    for_readme(folder)
    results = folder / "runs/paper/results"
    (results / "lm").mkdir(parents=True)
    (results / "lm/gslm").symlink_to(folder / "results/lm/tiny")
    (results / "ks").symlink_to(folder / "results/ks/prompt/seed-1")


PAGES = {
    "README.md": for_readme,
    "CONTRIBUTING.md": None,
    "docs/corpora.md": for_corpora,
    "docs/deployment.md": None,
    "docs/inspect.md": for_inspect,
    "docs/models.md": for_models,
    "docs/paper.md": for_paper,
    "docs/predict.md": None,
    "docs/reliability.md": None,
    "docs/running.md": for_readme,
    "docs/tutorial.md": for_tutorial,
}


@pytest.fixture
def checkout(finished, tmp_path):
    """A checkout with programs beside it, a run of models that ship, and recordings."""
    folder = tmp_path / "checkout"
    shutil.copytree(finished, folder)
    link_sources(folder)
    for name in ("Makefile", "config.yaml", "pyproject.toml", "src"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/activate").touch()
    results = folder / "results"
    for task, shipped in {"ks": "ks", "ic": "ks", "digits": "digits"}.items():
        shutil.copytree(SHIPPED / shipped, results / task, dirs_exist_ok=True)
        (results / task / "acc.txt").write_text("97.04\n")
    for name, place in {
        "hubert-nano.safetensors": folder / "resources/models/shipped/hubert-nano.safetensors",
        "hubert-nano-100.safetensors": results / "codebooks/nano100.safetensors",
        "unit-lm-nano.safetensors": results / "lm/nano/model.safetensors",
    }.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHIPPED / name, place)
    units = results / "units"
    (units / "book").mkdir()
    (units / "nano100").symlink_to("mfcc50")
    (units / "book/mine").symlink_to("../mfcc50/keywords")
    for i, name in enumerate(("yes", "no", "stop", "recordings", "a/folder/of/recordings")):
        record(folder / name, 3, start=10 * i)
    for name in ("my.wav", "new.wav", "another.wav", "some.wav", "another.flac", "yes.wav"):
        soundfile.write(folder / name, sound(1), RATE)
    soundfile.write(folder / "stop.flac", sound(2), RATE)
    soundfile.write(folder / "talk.wav", sound(3, 4), RATE)
    (folder / "broken.wav").write_text("no audio")
    (folder / "heard.pcm").write_bytes((sound(4, 3) * 2**15).astype("<i2").tobytes())
    return folder


@pytest.fixture
def programs_beside(tmp_path):
    """What the commands find."""
    work = {
        "arecord": "exec cat heard.pcm",
        "make": f'exec {shutil.which("make")} --dry-run "$@"',
        "python": f'exec {sys.executable} "$@"',
        "snakemake": f'exec {programs()}/snakemake --dry-run --quiet all "$@"',
        "speechprompt": f'exec {programs()}/speechprompt "$@"',
        **dict.fromkeys(("apt-get", "pip", "podman"), ":"),
    }
    (tmp_path / "bin").mkdir()
    for name, line in work.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)


def run(script, folder):
    path = f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.usefixtures("programs_beside")
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_can_be_run(checkout, page):
    if PAGES[page]:
        PAGES[page](checkout)
    found = list(scripts(page))
    assert found
    for script in found:
        done = run(script.replace(RECORDINGS, str(checkout / "spoken")), checkout)
        # A recording that is none is reported, and the status says so.
        expected = 1 if "broken.wav" in script else 0
        assert done.returncode == expected, f"{script}\n{done.stdout}\n{done.stderr}"
