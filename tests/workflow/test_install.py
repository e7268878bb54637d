"""What envs/install.sh, which make calls, shows and does."""

import contextlib
import os
import pty
import shutil
import subprocess

import pytest

from pipeline import REPOSITORY

SCRIPT = REPOSITORY / "envs/install.sh"


@pytest.fixture
def venv(tmp_path):
    """An environment whose uv ends in the third second, and whose python notes how it is called.

    The first two seconds take no time.
    """
    folder = tmp_path / "venv"
    packages = folder / "lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    (tmp_path / "some.txt").write_text("# Some.\none==1.0\ntwo==2.0\n")
    (tmp_path / "limits.txt").write_text("three==3.0\n")
    package, seconds = packages / "one-1.0.dist-info", tmp_path / "seconds"
    seconds.touch()
    third, sleep = f"[ $(wc -l < {seconds}) -ge 3 ]", shutil.which("sleep")
    there = f"until [ -d {package} ]; do {sleep} 0.01; done"
    programs = {
        "uv": f"mkdir {package}; until {third}; do {sleep} 0.01; done",
        "python": f'echo "$@" > {tmp_path}/called',
        "sleep": f'{there}; echo >> {seconds}; ! {third} || exec {sleep} "$@"',
    }
    for name, work in programs.items():
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{work}\n")
        program.chmod(0o755)
    return folder


def install(venv, **streams):
    files = ("-r", venv.parent / "some.txt", "-c", venv.parent / "limits.txt")
    path = f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    return subprocess.run([SCRIPT, venv, *files], check=True, env=environment, **streams)


def read_to_the_end(terminal):
    """What was written to a terminal whose other end is closed: one read may return a part."""
    shown = b""
    with contextlib.suppress(OSError):  # what Linux raises where nothing is left
        while part := os.read(terminal, 10_000):
            shown += part
    os.close(terminal)
    return shown.decode()


def test_a_terminal_sees_how_far_it_is(venv):
    ours, theirs = pty.openpty()
    install(venv, stderr=theirs)
    os.close(theirs)
    shown = read_to_the_end(ours)
    assert "installing 2 packages: 1 there, 2 s" in shown
    assert shown.endswith("\r\x1b[K")
    assert "\n" not in shown
    assert not (venv.parent / "called").exists()


def test_pip_does_it_where_uv_cannot(venv):
    (venv / "bin/uv").write_text("#!/bin/sh\necho no registry >&2\nexit 2\n")
    done = install(venv, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert (venv.parent / "called").read_text().startswith("-m pip install --quiet")
