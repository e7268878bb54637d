"""Fixtures that several test modules share."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from filelock import FileLock

from local_server import QuietHandler, serving
from pipeline import REPOSITORY, snakemake

sys.path.append(str(REPOSITORY))

from faults.archives import pack_tar

# More threads than cores are at work here: those that wait for others must not keep a core busy.
# Read when torch is loaded, here and in whatever the tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, so that no process is left with one at the end; the longest use Slurm."""
    markers = ("slurm", "slow")
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in markers])


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings and the paper's unit sequences, where they lie beside the checkout."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs ../shared/data (real recordings and the paper's units)")
    return path


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id) -> Callable[[str, Callable[[Path], object]], Path]:
    """Fill a folder of this name once for all processes that run tests; return the folder."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def finished(once) -> Path:
    """A run of configs/ci.yaml by the installed programs."""
    words = ("--cores", "2", "results/ks/acc.txt")
    return once("finished", lambda folder: snakemake(folder, *words, installed=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A small finished run of the package's stages; one for each module that asks for it."""
    from small_run import write_run

    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def copied(run, tmp_path) -> Path:
    """A copy of it, for a test to change."""
    return shutil.copytree(run, tmp_path / "elsewhere")


@pytest.fixture
def at_once():
    """Call a function in several processes at once; the exit status of each."""

    def run(function: Callable[[int], object], count: int = 4) -> list[int | None]:
        context = multiprocessing.get_context("fork")
        start = context.Barrier(count)

        def work(number: int) -> None:
            start.wait()
            function(number)

        processes = [context.Process(target=work, args=(number,)) for number in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        return [process.exitcode for process in processes]

    return run


@pytest.fixture
def tar():
    """Pack files, or members with a type of their own, as tar.gz."""
    return pack_tar


@dataclass
class Host:
    """A local web server; what it does wrong is set by its fields."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)
    ranges: bool = True
    tags: bool = True
    lengths: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    drips: bool = False  # one byte at a time, ten in a second
    requests: list[str] = field(default_factory=list)

    def serve(self, name: str, content: bytes) -> str:
        """Offer a file; return its URL."""
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"


@pytest.fixture
def host(monkeypatch):
    """The server. Pauses between attempts take no time."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("speechprompt.downloads.download.time.sleep", lambda seconds: None)
    state = Host()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.requests.append(asked)
            content = state.files.get(self.path)
            if state.statuses or content is None:
                self.send_error(state.statuses.pop(0) if state.statuses else 404)
                return
            tag = f'"{hashlib.md5(content).hexdigest()}"' if state.tags else None
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            if not state.ranges or self.headers.get("If-Range", tag) != tag:
                start = 0
            if start >= len(content) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                end = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
            if state.lengths:
                self.send_header("Content-Length", str(len(content) - start))
            if tag:
                self.send_header("ETag", tag)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()
            stop = start + state.cut_after.pop(0) if state.cut_after else len(content)
            self.close_connection = True
            if not state.drips:
                self.wfile.write(content[start:stop])
                return
            with suppress(OSError):  # the other side has had enough
                for byte in content[start:stop]:
                    self.wfile.write(bytes([byte]))
                    threading.Event().wait(0.1)

    with serving(Handler) as state.url:
        yield state
