"""Reports cost no result: where they cannot be written, the work goes on."""

import os
import subprocess
import sys

import pytest

from speechprompt.runtime import progress as reporting

WORK = """
from speechprompt.runtime.progress import log, log_to, progress
log_to("/dev/full")
for _ in progress(range(3), "training"):
    log("one more epoch")
log_to("/proc/no/such/folder/log")
log("the last one")
print("done")
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_under_the_logs_ends_no_work():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=full, text=True
        )
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_a_quiet_job_writes_to_its_log_and_shows_warnings_and_errors(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reporting, "_log_file", None)
    monkeypatch.setenv(reporting.QUIET, "1")
    reporting.log_to(tmp_path / "job.log")
    reporting.log("epoch 1")
    reporting.log("warning: a split is small")
    reporting.log("speechprompt train-prompt: no such file", urgent=True)
    assert capsys.readouterr().err.splitlines() == [
        "warning: a split is small",
        "speechprompt train-prompt: no such file",
    ]
    assert len((tmp_path / "job.log").read_text().splitlines()) == 3
