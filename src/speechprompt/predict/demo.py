"""A page to speak to: finished tasks answer what the microphone hears, on this machine only.

The server listens on the loopback address. It refuses requests that name another host, as those of
a page whose name was bound to this address again (DNS rebinding), and requests that another page
sends. Recordings are neither written to the disk nor kept.
"""

import io
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

import jinja2
import numpy as np

from speechprompt.audio.reading import SAMPLE_RATE, AudioError, read_audio
from speechprompt.audio.waveforms import as_waveform
from speechprompt.corpora.manifest import read_root
from speechprompt.errors import ConfigError, SpeechPromptError
from speechprompt.evaluation.predictions import read_predictions
from speechprompt.models.shipped import TASKS
from speechprompt.predict.predictor import Predictor
from speechprompt.predict.task_folder import find_manifest
from speechprompt.report.examples import compress, outline_peaks
from speechprompt.report.listening import draw_outline, draw_units, unit_colour
from speechprompt.runtime.progress import log, show
from speechprompt.storage.package_data import data_file
from speechprompt.storage.parquet import read_parquet

__all__ = ["Demo", "DemoServer", "demo"]

LOOPBACK = "127.0.0.1"
MOST_BYTES = 100_000_000  # of a recording
RECORDINGS = 24
FILES = {  # the page's own files, and their media types
    "/demo.css": (".css", "text/css"),
    "/demo.js": (".js", "text/javascript"),
    "/recorder.js": (".worklet.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; media-src blob:; img-src data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def demo(
    folders: Sequence[Path] = (),
    weights: Path | None = None,
    port: int = 8765,
    device: str = "auto",
) -> None:
    """Serve the page until it is interrupted.

    Args:
        folders: folders of tasks, such as results/ks; all of them answer (default: the prompts that
            ship with the package).
        weights: the encoder's weights, if they have been moved.
        port: port of the loopback address; 0 takes a free one.
        device: cpu, cuda or auto.

    Raises:
        ConfigError: the port is not free.
    """
    if not 0 <= port < 65536:
        raise ConfigError(f"--port: expected 0 to 65535, found {port}")
    folders = folders or list(TASKS.values())
    found = Demo(Predictor.load(*folders, weights=weights, device=device), find_tests(folders))
    try:
        server = DemoServer(found, port)
    except OSError as error:
        raise ConfigError(
            f"port {port} of {LOOPBACK}: {error.strerror}; take another one with --port"
        ) from None
    with server:
        show(f"http://{LOOPBACK}:{server.server_port}/")
        log("Open this address in a browser on this machine; Ctrl-C ends the demo.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log("the demo has ended")


def find_tests(folders: Sequence[str | Path], n: int = RECORDINGS) -> list[tuple[str, Path]]:
    """Find recordings of the splits that tasks were scored on, where the run still has them.

    Args:
        folders: folders of the tasks.
        n: number of recordings of all tasks together.

    Returns:
        Reference and path of each; none of a task whose folder does not name its corpus.

    Raises:
        ArtefactError: a folder has predictions and is not that of a finished task.
    """
    found: list[tuple[str, Path]] = []
    for folder in map(Path, folders):
        predictions = folder / "predictions.parquet"
        if not predictions.is_file():
            continue
        table = read_predictions(predictions)
        share = max(n // len(folders), 1)
        drawn = np.random.default_rng(0).permutation(len(table))[:share]
        rows = table.select(["utt_id", "split", "reference"]).take(drawn).to_pylist()
        if (manifest := find_manifest(folder, rows[0]["split"])) is None:
            continue
        listed = read_parquet(manifest, ["utt_id", "path"])
        path_of = dict(zip(*(column.to_pylist() for column in listed.columns), strict=True))
        # The corpus may have been prepared again, with other recordings.
        if all(row["utt_id"] in path_of for row in rows):
            root = read_root(manifest)
            found += [(row["reference"], root / path_of[row["utt_id"]]) for row in rows]
    return found


@dataclass
class Demo:
    """Tasks that answer, and recordings to try.

    Attributes:
        predictor: the tasks.
        recordings: reference and path of recordings of the test splits.
    """

    predictor: Predictor
    recordings: list[tuple[str, Path]]

    def __post_init__(self) -> None:
        self._one_at_a_time = Lock()

    def page(self) -> str:
        """The page."""
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        template = data_file(__file__, ".html").read_text(encoding="utf-8")
        return environment.from_string(template).render(
            tasks=[task.name for task in self.predictor.tasks],
            recordings=[reference or "nothing" for reference, _ in self.recordings],
        )

    def answer(self, content: bytes) -> dict[str, Any]:
        """Answer a recording.

        Args:
            content: an audio file.

        Returns:
            What the page shows: outline, units and answers, or an ``error``.
        """
        began = time.monotonic()
        try:
            samples = as_waveform(io.BytesIO(content), name="recording")
            with self._one_at_a_time:
                units_of = self.predictor.quantise([samples])
                (heard,) = units_of[self.predictor.tasks[0].units]
                if isinstance(heard, SpeechPromptError):
                    raise heard
                answers = self.predictor.answer_units(["recording"], units_of)
        except SpeechPromptError as error:
            return {"error": error.reason if isinstance(error, AudioError) else str(error)}
        seconds = len(samples) / SAMPLE_RATE
        units, durations = heard.units.tolist(), heard.durations.tolist()
        boxes = draw_units(units, durations, seconds, heard.frame_rate)
        return {
            "seconds": seconds,
            "outline": draw_outline(outline_peaks(samples)),
            "boxes": [(left, width, unit_colour(unit), unit) for left, width, unit in boxes],
            "answers": [answer.to_dict() for answer in answers],
            "took": time.monotonic() - began,
        }

    def recording(self, number: int) -> tuple[bytes, str]:
        """A recording of a test split as a file that browsers play, and its media type.

        Raises:
            AudioError: it cannot be read any more.
            IndexError: there is no such recording.
        """
        return compress(read_audio(self.recordings[number][1]))


class DemoServer(ThreadingHTTPServer):
    """The server of a demo, on the loopback address."""

    daemon_threads = True
    # Another process must not be able to take the port over.
    allow_reuse_address = False

    def __init__(self, demo: Demo, port: int = 0) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self.demo = demo
        self.hosts = {f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost")}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a page that was closed before it had its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        if not self._is_ours():
            return
        if self.path == "/":
            self._send(self.server.demo.page().encode(), "text/html; charset=utf-8")
        elif self.path in FILES:
            suffix, kind = FILES[self.path]
            self._send(data_file(__file__, suffix).read_bytes(), f"{kind}; charset=utf-8")
        elif self.path.startswith("/recordings/"):
            number = self.path.removeprefix("/recordings/")
            if number not in map(str, range(len(self.server.demo.recordings))):
                self._refuse(HTTPStatus.NOT_FOUND)
                return
            try:
                self._send(*self.server.demo.recording(int(number)))
            except AudioError:
                self._refuse(HTTPStatus.NOT_FOUND)
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if not self._is_ours():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/answer":
            self._refuse(HTTPStatus.NOT_FOUND)
        elif not (length.isascii() and length.isdigit() and len(length) < 12):
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
        elif int(length) > MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            answer = self.server.demo.answer(self.rfile.read(int(length)))
            self._send(json.dumps(answer).encode(), "application/json")

    def _is_ours(self) -> bool:
        """Whether a request is of this page's own; another one is refused."""
        hosts, host = self.server.hosts, self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        is_own = origin is None or origin in {f"http://{name}" for name in hosts}
        site = self.headers.get("Sec-Fetch-Site", "none")
        if host in hosts and is_own and site in ("none", "same-origin"):
            return True
        self._refuse(HTTPStatus.FORBIDDEN)
        return False

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True  # a body that was not read is not the next request
        self._send(f"{status.value} {status.phrase}\n".encode(), "text/plain", status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what is sent and when is the user's own business."""
