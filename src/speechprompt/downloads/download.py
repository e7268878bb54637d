"""Downloads that resume, are retried, and are used only after their hash is verified.

A file without a known hash must prove that it is what was asked for. Otherwise the page that a
network shows before it lets anybody in would be recorded as the right file for good.
"""

import hashlib
import http.client
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, build_opener

from speechprompt import __version__
from speechprompt.downloads.assets import ASSETS, MODELS, Asset
from speechprompt.downloads.proof import prove_model, refuse_page
from speechprompt.errors import AssetError, SpeechPromptError
from speechprompt.runtime.progress import log, progress
from speechprompt.storage.files import flush_file, write_text
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.locks import locked

__all__ = ["download_model", "fetch", "link_copy", "recorded_sum"]

PAUSES_SECONDS = (1, 4, 15, 60)
ATTEMPTS = len(PAUSES_SECONDS) + 1
TIMEOUT_SECONDS = 60
# A host has so long to begin its answer, with all its redirections and headers.
ANSWER_SECONDS = 180
# A transfer that brings fewer bytes in so long a time is given up.
SLOW_SECONDS, SLOWEST_BYTES = 60, 60_000
BLOCK_BYTES = 2**20
# Worth another attempt, like every 5xx: timeout, too early, too many requests.
TRANSIENT_STATUS = (408, 425, 429)
PAGES = ("text/html", "application/xhtml+xml")
NETWORK_ERRORS = (URLError, TimeoutError, ConnectionError, http.client.HTTPException)


class _Interrupted(Exception):
    """The transfer broke off; the bytes that have arrived are kept."""


def download_model(model: str, out: str | Path, root: str | Path | None = None) -> None:
    """Download and check a published model file, or link to a copy of it.

    Args:
        model: name of the file, as in docs/models.md.
        out: file to write.
        root: folder that has the file already; then a link to it is made.

    Raises:
        AssetError: there is no such model, or for a reason of :func:`fetch`.
    """
    if model not in MODELS:
        raise AssetError(f"model: expected one of {', '.join(MODELS)}, found {model!r}")
    if root is not None:
        link_copy(ASSETS[model], root, out)
    fetch(ASSETS[model], out, prove_model)


def fetch(
    asset: Asset, out: str | Path, prove: Callable[[Asset, Path], None] | None = None
) -> Path:
    """Download a file, or verify an existing one.

    The bytes that have arrived are kept in a hidden file beside ``out``, whose name depends on the
    URL and the sum. The next attempt or the next run goes on from there. ``{out}.sha256`` records
    the sum. If none is published, the first download sets it, and later ones must match. Of several
    processes with the same ``out``, one downloads and the others verify its file.

    Args:
        asset: The file to download.
        out: Path for the file. An existing file, such as a copy from elsewhere, is verified and
            kept.
        prove: Raises an error unless a file is what the asset says. It is called before a first
            sum is recorded, and never for a file with a known sum.

    Returns:
        ``out``.

    Raises:
        AssetError: all attempts fail, the file has another sum, or it proves to be something else;
            then neither it nor its sum is kept.
    """
    with locked(out, tell=log):
        return _fetch(asset, Path(out), prove)


def _fetch(asset: Asset, out: Path, prove: Callable[[Asset, Path], None] | None) -> Path:
    record = _record_path(out)
    expected = asset.sha256 or recorded_sum(out)
    origin = "published" if asset.sha256 else f"recorded in {record}"
    try:
        if out.is_file():
            found = sha256_file(out)
            if expected not in (None, found):
                raise AssetError(
                    f"{out}: expected the SHA-256 {expected} ({origin}), found {found}; remove "
                    "the file to download it again"
                )
            if expected is None and prove is not None:
                prove(asset, out)
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            found = _download(asset, out, expected, origin, prove)
        write_text(record, f"{found}  {out.name}\n")
    except OSError as error:
        raise AssetError(f"{out}: cannot be written ({error})") from error
    return out


def recorded_sum(out: str | Path) -> str | None:
    """The SHA-256 of an earlier download to ``out``; None before the first.

    Raises:
        AssetError: the record holds no sum.
    """
    record = _record_path(Path(out))
    if not record.is_file():
        return None
    words = record.read_text(encoding="utf-8").split()
    if not words or len(words[0]) != 64:
        raise AssetError(f"{record}: expected a line 'SHA-256  name'; remove the file")
    return words[0]


def link_copy(asset: Asset, root: str | Path, out: str | Path) -> None:
    """Make a link to a copy of an asset, for :func:`fetch` to verify.

    Args:
        asset: The asset.
        root: Folder of the copy, which has the asset's name or the name in its URL.
        out: The link.

    Raises:
        AssetError: the folder has no such file.
    """
    names = (asset.name, asset.url.rsplit("/", 1)[-1])
    copy = next((path for name in names if (path := Path(root) / name).is_file()), None)
    if copy is None:
        raise AssetError(f"{root}: expected {' or '.join(dict.fromkeys(names))} in this folder")
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{token_hex(4)}.link")
    temporary.symlink_to(copy.resolve())
    os.replace(temporary, out)


def _record_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.sha256")


def _download(
    asset: Asset,
    out: Path,
    expected: str | None,
    origin: str,
    prove: Callable[[Asset, Path], None] | None,
) -> str:
    """Transfer the file and return its sum.

    A file with a wrong sum is deleted. If it came in several attempts, it is downloaded once more.
    """
    key = hashlib.sha256(f"{asset.url} {expected}".encode()).hexdigest()[:8]
    part = out.with_name(f".{out.name}.{key}.part")
    resumed = _transfer_with_retries(asset, part, can_check=expected is not None)
    found = sha256_file(part)
    if resumed and expected not in (None, found):
        log(f"{asset.url}: the resumed download has a wrong sum; starting again")
        _discard(part)
        _transfer_with_retries(asset, part, can_check=True)
        found = sha256_file(part)
    if expected not in (None, found):
        _discard(part)
        raise AssetError(
            f"{asset.url}: expected the SHA-256 {expected} ({origin}), found {found}: the file "
            "has changed at its host, or something else answered"
        )
    if expected is None:
        try:
            refuse_page(part)
            if prove is not None:
                prove(asset, part)
        except SpeechPromptError as error:
            _discard(part)
            reason = str(error).replace(str(part), out.name)
            raise type(error)(
                f"{asset.url}: what came is not {asset.name}, and nothing of it is kept: {reason}"
            ) from error
    flush_file(part)
    os.replace(part, out)
    _validator_path(part).unlink(missing_ok=True)
    return found


def _transfer_with_retries(asset: Asset, part: Path, *, can_check: bool) -> bool:
    """Transfer in several attempts; return whether any of them resumed an earlier one."""
    resumed, pauses = False, iter(PAUSES_SECONDS)
    while True:
        try:
            return _transfer(asset, part, can_check) or resumed
        except _Interrupted as error:
            resumed = True
            arrived = part.stat().st_size if part.exists() else 0
            if (pause := next(pauses, None)) is None:
                raise AssetError(
                    f"{asset.url}: download failed ({error}) after {ATTEMPTS} attempts; "
                    f"{arrived} bytes are kept, run again to go on"
                ) from error
            log(f"{asset.url}: {error} after {arrived} bytes; trying again")
            time.sleep(pause)


def _transfer(asset: Asset, part: Path, can_check: bool) -> bool:
    """Make one attempt; return whether it resumed an earlier one."""
    start = part.stat().st_size if part.exists() else 0
    validator = _read_validator(part)
    # Without a sum, only the server can tell that both parts belong to the same file.
    if start and not (can_check or validator):
        start = 0
    if asset.size is not None and start == asset.size:
        return True
    headers = {"User-Agent": f"speechprompt/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    request = Request(asset.url, headers=headers)
    try:
        with _open(request) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                start = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                _discard(part)
                raise _Interrupted("the server sent another range than requested")
            if not can_check:
                _refuse_encoded(asset, response)
            _receive(asset, response, part, start)
    except HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            total = error.headers.get("Content-Range", "").removeprefix("bytes */")
            if total == str(start):
                return True
            _discard(part)
            raise _Interrupted("the kept part does not belong to the file") from error
        if error.code < 500 and error.code not in TRANSIENT_STATUS:
            raise AssetError(f"{asset.url}: download failed ({error})") from error
        raise _Interrupted(str(error)) from error
    except NETWORK_ERRORS as error:
        raise _Interrupted(repr(error)) from error
    return start > 0


def _open(request: Request) -> Any:
    """Open a URL; a host that begins no answer is an error, however slowly it sends headers."""
    found: list[Any] = []

    def work() -> None:
        try:
            # urlopen would keep the proxies that were set at its first call.
            found.append(build_opener().open(request, timeout=TIMEOUT_SECONDS))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    if not found:
        raise _Interrupted(f"no answer within {ANSWER_SECONDS} s")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _refuse_encoded(asset: Asset, response: http.client.HTTPResponse) -> None:
    """Refuse what is no file as such, where no sum tells: a page, or a compressed transfer."""
    kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
    if kind in PAGES:
        raise AssetError(
            f"{asset.url}: expected {asset.name}, found a page ({kind}), perhaps that of a network "
            "which wants a login; open it in a browser, then run again"
        )
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("", "identity") and not asset.name.endswith(("gz", "zip")):
        raise AssetError(
            f"{asset.url}: expected {asset.name} as it is, found it with the encoding {encoding}; "
            "a proxy may have changed it"
        )


def _receive(asset: Asset, response: http.client.HTTPResponse, part: Path, start: int) -> None:
    """Append the body of the response to the part, which has ``start`` bytes."""
    length = response.headers.get("Content-Length")
    total = start + int(length) if length and length.isdigit() else asset.size
    if None not in (asset.size, total) and total != asset.size:
        raise AssetError(f"{asset.url}: expected {asset.size} bytes, the server has {total}")
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise AssetError(
            f"{part.parent}: {total - start} bytes are needed for {asset.name}, {free} are free"
        )
    _write_validator(part, response)
    with part.open("ab" if start else "wb") as stream:
        blocks = math.ceil((total - start) / BLOCK_BYTES) if total is not None else None
        for block in progress(_blocks(response), asset.name, total=blocks, unit="MiB"):
            stream.write(block)
            if total is not None and stream.tell() > total:
                raise AssetError(f"{asset.url}: expected {total} bytes, the server sends more")
    arrived = part.stat().st_size
    if total is not None and arrived < total:
        raise _Interrupted(f"broke off {total - arrived} bytes before the end")


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body; what has arrived is yielded before an error, too."""
    block, began, arrived = bytearray(), time.monotonic(), 0
    while True:
        failure: str | Exception = ""
        try:
            piece = response.read1(BLOCK_BYTES)
        except (OSError, *NETWORK_ERRORS) as error:
            piece, failure = b"", error
        block += piece
        arrived += len(piece)
        if (seconds := time.monotonic() - began) >= SLOW_SECONDS:
            if arrived < SLOWEST_BYTES:
                failure = failure or f"only {arrived} bytes came in {seconds:.0f} s"
            began, arrived = time.monotonic(), 0
        if block and (len(block) >= BLOCK_BYTES or failure or not piece):
            yield bytes(block)
            block.clear()
        if isinstance(failure, Exception):
            raise _Interrupted(repr(failure)) from failure
        if failure:
            raise _Interrupted(failure)
        if not piece:
            return


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_path(part).unlink(missing_ok=True)


def _validator_path(part: Path) -> Path:
    return part.with_suffix(".validator")


def _read_validator(part: Path) -> str:
    path = _validator_path(part)
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _write_validator(part: Path, response: http.client.HTTPResponse) -> None:
    """Record the version of the file at its host; a weak tag does not identify the bytes."""
    tag = response.headers.get("ETag", "")
    if not tag or tag.startswith("W/"):
        tag = response.headers.get("Last-Modified", "")
    write_text(_validator_path(part), tag + "\n")
