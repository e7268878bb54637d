"""Fetching from the hub in processes of their own, which read the variables anew."""

import os
import subprocess
import sys

import pytest

from hub_server import SECRET


@pytest.fixture
def environment(tmp_path, hub):
    """The variables of a person who has such a hub and an empty cache."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_ETAG_TIMEOUT": "2",
    }


@pytest.fixture
def as_a_person(environment, monkeypatch):
    """The same variables in this process and those that it starts."""
    for name in os.environ.keys() - environment.keys():
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def fetch_with(tmp_path, call):
    """Fetch a model or a data set into a folder; what is said if it fails."""

    def run(verb, out, repository, revision, *options, **variables):
        words = [repository, "--revision", revision, *options, "--out", str(tmp_path / out)]
        message = call(verb, *words, **variables)
        if message is not None:  # neither a file nor a part of one is left
            assert not (tmp_path / out).exists()
            assert not list(tmp_path.glob(f".{out}*"))
        return message

    return run


@pytest.fixture
def call(environment):
    """Run a verb; what it says if it fails."""

    def run(*words, **variables):
        program = "import sys; from speechprompt.cli import main; sys.exit(main(sys.argv[1:]))"
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert SECRET not in done.stderr + done.stdout
        return done.stderr if done.returncode else None

    return run
