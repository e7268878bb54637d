"""Locks between processes."""

import os
import signal
import stat
import time

import pytest

from speechprompt.storage.files import atomic_folder
from speechprompt.storage.locks import locked


def test_one_process_at_a_time_is_inside(tmp_path, at_once):
    place, seen = tmp_path / "deep" / "file", tmp_path / "seen"

    def work(number):
        for _ in range(10):
            with locked(place, tell=lambda sentence: None):
                seen.mkdir()  # fails if it is there
                time.sleep(0.002)
                seen.rmdir()

    assert at_once(work) == [0] * 4
    assert list(place.parent.iterdir()) == []


def test_who_waits_says_so_and_goes_on_after_a_kill(tmp_path, at_once):
    def work(number):
        said = []
        if number == 1:
            time.sleep(0.2)
        with locked(tmp_path / "file", tell=said.append):
            if number == 0:
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGKILL)
        assert said == [f"{tmp_path / 'file'}: another process is making it; waiting"]

    assert at_once(work, 2) == [-signal.SIGKILL, 0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_has_no_lock(tmp_path):
    tmp_path.chmod(0o500)
    with locked(tmp_path / "file", tell=print):
        assert list(tmp_path.iterdir()) == []
    tmp_path.chmod(0o700)


def test_what_a_killed_process_left_is_removed_and_work_in_progress_is_not(tmp_path, at_once):
    folder = tmp_path / "out"

    def work(number):
        with atomic_folder(folder) as temporary:
            (temporary / "file").write_text("half")
            if number == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.5)
            (temporary / "file").write_text("whole")

    assert at_once(work, 2) == [-signal.SIGKILL, 0]
    with atomic_folder(folder) as temporary:
        (temporary / "file").write_text((folder / "file").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (folder / "file").read_text() == "whole"
    (tmp_path / "plain").mkdir()
    mode = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert stat.S_IMODE(folder.stat().st_mode) == mode
