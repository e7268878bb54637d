from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def record():
    """Write short recordings by path below a folder; every one differs."""

    def write(folder: Path, *paths: str, sample_rate: int = 8_000) -> None:
        for index, path in enumerate(paths):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(index).normal(0, 0.1, 400 + index)
            soundfile.write(target, noise, sample_rate)

    return write


@pytest.fixture
def speak(shared_data):
    """Write real recordings, at 16 kHz, by path below a folder; every one differs."""
    spoken = sorted((shared_data / "fsdd").glob("*.wav"))

    def write(folder: Path, *paths: str) -> None:
        for path, source in zip(paths, spoken, strict=False):
            audio, _ = soundfile.read(source, dtype="int16")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(target, np.repeat(audio, 2), 16_000)

    return write


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
    requests: list[str] = field(default_factory=list)

    def serve(self, name: str, content: bytes) -> str:
        """Offer a file; return its URL."""
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"


@pytest.fixture
def host(monkeypatch):
    """The server. Pauses between attempts take no time."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("speechprompt.download.time.sleep", lambda seconds: None)
    state = Host()

    class Handler(BaseHTTPRequestHandler):
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
            self.end_headers()
            stop = start + state.cut_after.pop(0) if state.cut_after else len(content)
            self.wfile.write(content[start:stop])
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def tar():
    """Pack files, or members with a type of their own, as tar.gz."""

    def pack(files: dict[str, bytes], *members: tarfile.TarInfo) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            for member in members:
                archive.addfile(member)
        return buffer.getvalue()

    return pack


@pytest.fixture
def pack_folder():
    """Pack a folder's files as tar.gz, below a top folder or flat."""

    def pack(folder: Path, top: str = ".") -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.add(folder, top)
        return buffer.getvalue()

    return pack
