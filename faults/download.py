"""Download: a server or the way to it goes wrong, and what arrives is hostile."""

import gzip
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from faults.archives import pack_tar
from faults.tiny import Tiny
from faults.trial import CLEAN, HALF, SAME, SILENT, Case, Process, Stage, Verdict, judge
from speechprompt.downloads import download
from speechprompt.downloads.assets import ASSETS

__all__ = ["faults"]

NAME = "fsdd.tar.gz"
WORDS = ["download-corpus", "--kind", "fsdd", "--out", "digits"]
PAGE = b"<!DOCTYPE html><html><body>Log in to the network</body></html>" * 200


def _link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


@dataclass(frozen=True)
class Answer:
    """How the server answers: each request by the next status, cut after so many bytes."""

    content: bytes
    statuses: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()
    length: bool = True
    ranges: bool = True
    kind: str = "application/gzip"
    encoding: str = ""
    pause: float = 0.0


def _answers(run: Tiny) -> dict[str, Answer]:
    names = [f"corpus/audio/{n:03d}.wav" for n in range(12)]
    files = {f"x/recordings/{n}_ann_0.wav": run.content[name] for n, name in enumerate(names)}
    good, half = pack_tar(files), len(pack_tar(files)) // 2
    return {
        "good": Answer(good),
        "busy at first": Answer(good, statuses=(503, 429)),
        "cut twice": Answer(good, cuts=(half // 2, half)),
        "cut, without ranges": Answer(good, cuts=(half,), ranges=False),
        "cut, without a length": Answer(good, cuts=(half,) * 9, length=False),
        "always cut": Answer(good, cuts=(half,) * 99, ranges=False),
        "not found": Answer(good, statuses=(404,) * 9),
        "forbidden": Answer(good, statuses=(403,) * 9),
        "always busy": Answer(good, statuses=(500,) * 99),
        "a page": Answer(PAGE, kind="text/html"),
        "a page that claims to be an archive": Answer(PAGE),
        "nothing": Answer(b""),
        "compressed on the way": Answer(gzip.compress(good), encoding="gzip"),
        "slow": Answer(good, pause=0.05),
        "half an archive": Answer(good[:half]),
        "an archive with a changed byte": Answer(good[:half] + b"??" + good[half + 2 :]),
        "an archive of something else": Answer(pack_tar({"x/readme.txt": b"hello"})),
        "an archive that leaves its folder": Answer(pack_tar(files | {"../../evil.wav": b"x"})),
        "an absolute name": Answer(pack_tar(files | {"/tmp/evil-of-faults.wav": b"x"})),
        "a link out": Answer(pack_tar(files, _link("x/recordings/9_a_1.wav", "/etc/passwd"))),
        "a bomb": Answer(pack_tar(files | {"x/recordings/8_bob_0.wav": bytes(60_000_000)})),
    }


def faults(run: Tiny) -> Iterator[Case]:
    """Every answer, with a published sum and without one."""
    answers = _answers(run)
    good = answers.pop("good")
    for name, answer in answers.items():
        for with_sum in (True, False):
            known = "a known sum" if with_sum else "no sum"
            trial = partial(_download, answer, good, with_sum)
            yield Case(f"{name}, {known}", trial)


def _download(answer: Answer, good: Answer, with_sum: bool, place: Path) -> Verdict:
    place.mkdir()
    with suppress(FileNotFoundError):
        Path("/tmp/evil-of-faults.wav").unlink()
    expected = _collect(good, good, with_sum, place / "reference")
    folder = place / "run"
    process = _collect(answer, good, with_sum, folder)
    verdict = judge(process, Stage("download-corpus", (), ()), {}, ["fsdd", "127.0.0.1"], kept=True)
    if [*place.rglob("evil*"), *Path("/tmp").glob("evil-of-faults*")]:
        return Verdict(SILENT, "a member was written outside")
    if verdict.outcome == SAME:
        same = _recordings(folder) == _recordings(expected.folder)
        return verdict if same else Verdict(SILENT, process.said)
    if verdict.outcome != CLEAN:
        return verdict
    left = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    if left:
        return Verdict(HALF, f"left behind: {left}")
    again = _collect(good, good, with_sum, folder)
    whole = again.status == 0 and _recordings(folder) == _recordings(expected.folder)
    return verdict if whole else Verdict(SILENT, f"the right file is refused: {again.said}")


def _collect(answer: Answer, good: Answer, with_sum: bool, folder: Path) -> Process:
    folder.mkdir(exist_ok=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(answer)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{NAME}"
        known = sha256(good.content).hexdigest() if with_sum else None

        def sabotage() -> None:
            limit = 50_000_000
            ASSETS[NAME] = replace(
                ASSETS[NAME], url=url, sha256=known, size=None, max_unpacked=limit
            )
            download.time.sleep = lambda seconds: None  # type: ignore[attr-defined]
            download.SLOW_SECONDS = 1

        process = Process(folder, WORDS, sabotage).start().wait(60)
        server.shutdown()
    return process


def _recordings(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.wav")}


def _handler(answer: Answer) -> type[BaseHTTPRequestHandler]:
    statuses, cuts = list(answer.statuses), list(answer.cuts)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if statuses:
                self.send_error(statuses.pop(0))
                return
            asked = self.headers.get("Range", "") if answer.ranges else ""
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            content = answer.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", answer.kind)
            if start:
                end, size = len(answer.content) - 1, len(answer.content)
                self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
            if answer.length:
                self.send_header("Content-Length", str(len(content)))
            if answer.encoding:
                self.send_header("Content-Encoding", answer.encoding)
            self.end_headers()
            self.close_connection = True
            content = content[: cuts.pop(0)] if cuts else content
            with suppress(OSError):
                if not answer.pause:
                    self.wfile.write(content)
                for place in range(0, len(content) if answer.pause else 0, 200):
                    self.wfile.write(content[place : place + 200])
                    time.sleep(answer.pause)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
