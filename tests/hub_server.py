"""A local server that answers as the Hugging Face hub does, as far as huggingface_hub asks it."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from local_server import QuietHandler, serving

REPOSITORY = "someone/hubert-tiny"
SECRET = "hf_secret"
REVISION = "0123456789abcdef0123456789abcdef01234567"
# Files that the hub stores by SHA-256, behind a redirection; git stores the others.
LARGE = (".safetensors", ".bin", ".parquet")


@dataclass
class Hub:
    """What the server has, and what it was asked.

    Attributes:
        files: contents by name, of the one revision of the one model or data set.
        token: what a request must have, if any.
        sends: contents that are sent in place of others.
        revision: what the server says that it sends.
        requests: method, path and token of every request.
    """

    files: dict[str, bytes]
    token: str | None = None
    sends: dict[str, bytes] = field(default_factory=dict)
    revision: str = REVISION
    url: str = ""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    is_data_set: bool = False

    def etag(self, name: str) -> str:
        content = self.files[name]
        if name.endswith(LARGE):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def listing(self) -> bytes:
        """What the hub says of its files."""
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": self.etag(name)}
            for name, content in self.files.items()
        ]
        return json.dumps(entries).encode()


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def serve(hub: Hub):
    """Serve it; its URL is in the hub."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path, token = unquote(self.path), self.headers.get("Authorization")
            hub.requests.append((self.command, path, token))
            _, cdn, name = path.partition("/cdn/")
            if not cdn:
                place = f"datasets/{REPOSITORY}" if hub.is_data_set else REPOSITORY
                listing = f"/api/{place}/tree/"
                begins = [each for each in (f"/{place}/resolve/", listing) if path.startswith(each)]
                if not begins:
                    return self.refuse(404, "RepoNotFound")
                revision, _, name = path.partition("?")[0].removeprefix(begins[0]).partition("/")
                if hub.token and token != f"Bearer {hub.token}":
                    return self.refuse(401, "GatedRepo")
                if revision != REVISION:
                    return self.refuse(404, "RevisionNotFound")
                if begins == [listing]:
                    return self.send(200, {"Content-Type": "application/json"}, hub.listing())
            if name not in hub.files:
                return self.refuse(404, "EntryNotFound")
            content = hub.sends.get(name, hub.files[name])
            headers = {"X-Repo-Commit": hub.revision, "ETag": f'"{hub.etag(name)}"'}
            if name.endswith(LARGE) and not cdn:
                size = str(len(content))
                headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": size}
                headers |= {"Location": f"{hub.url}/cdn/{name}"}
                return self.send(302, headers, b"")
            return self.send(200, headers, content, with_body)

        def refuse(self, status: int, code: str) -> None:
            self.send(status, {"X-Error-Code": code, "X-Repo-Commit": hub.revision}, b"")

        def send(self, status, headers, content, with_body=True) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

    with serving(Handler) as hub.url:
        yield hub
