"""A run without a shared file system: a storage provider brings jobs their declared inputs.

Every job runs in an empty folder, as in a pod of its own. A file that a rule reads and does not
name is not there.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forkserver import programs
from pipeline import REPOSITORY, link_sources

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PROFILE = REPOSITORY / "workflow/profiles/kubernetes"
# What jobs find on their path.
TOOLS = {
    # As much of rsync as the storage provider uses, because not every machine has it.
    "rsync": """#!{python} -IS
import os, shutil, sys
*options, source, target = sys.argv[1:]
if os.path.isdir(source):
    name = "" if source.endswith("/") else os.path.basename(source)
    shutil.copytree(source, os.path.join(target, name), dirs_exist_ok=True)
else:
    shutil.copy2(source, target)
""",
    # A job installs the storage provider, which is there.
    "pip": "#!/bin/sh\n",
    # A job runs Python's Snakemake. It is forked like all others of the tests.
    "python": """#!/bin/sh
[ "$1 $2" = "-m snakemake" ] && shift 2 && exec {programs}/snakemake "$@"
exec {python} "$@"
""",
}
COMPARED = (
    *("results/manifests/**/*", "results/codebooks/*", "results/units/**/*", "results/lm/**/*"),
    *("results/ks/*", "results/ks/prompt/**/*"),
)


def contents(folder):
    """Every result but pictures by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for pattern in COMPARED
        for path in folder.glob(pattern)
        if path.is_file() and path.suffix not in (".pdf", ".svg")
    }


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run of configs/ci.yaml by the Kubernetes profile: its storage, jobs and own folder."""
    folder = tmp_path_factory.mktemp("storage")
    store, pods, tools, work = (folder / name for name in ("store", "pods", "tools", "work"))
    for path in (store, pods, tools, work):
        path.mkdir()
    for name, text in TOOLS.items():
        (tools / name).write_text(text.format(python=sys.executable, programs=programs()))
        (tools / name).chmod(0o755)
    link_sources(work)
    done = subprocess.run(
        [
            *(sys.executable, str(HERE / "local_pods.py"), str(pods)),
            *("--workflow-profile", str(PROFILE), "--configfile", "configs/ci.yaml"),
            *("--default-storage-prefix", str(store), "--config", "device=cpu"),
            *("--jobs", "2", "--retries", "0", "--seconds-between-status-checks", "0"),
            *("--", "results/ks/acc.txt"),
        ],
        capture_output=True,
        text=True,
        cwd=work,
        env=os.environ | {"PATH": f"{tools}:{programs()}:{os.environ['PATH']}"},
        timeout=600,
    )
    said = "\n".join(path.read_text() for path in sorted(pods.glob("*.log")))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{said}"
    return store, pods, work


def test_the_bytes_are_those_of_a_run_in_one_folder(stored, finished):
    store, *_ = stored
    expected = contents(finished)
    assert {"results/ks/acc.txt", "results/ks/metrics.json", "results/ks/model.json"} <= set(
        expected
    )
    assert contents(store) == expected


def test_every_job_had_a_folder_of_its_own(stored):
    store, pods, work = stored
    jobs = [path for path in pods.iterdir() if path.is_dir()]
    assert len(jobs) == len(list((store / "benchmarks").rglob("*.tsv"))) > 30
    # Nothing was made in the folder that Snakemake was started in.
    assert {path.name for path in work.iterdir()} == {
        *("workflow", "rules", "configs", "envs", ".snakemake"),
    }
