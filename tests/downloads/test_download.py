from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechprompt.downloads import download
from speechprompt.downloads.assets import ASSETS, Asset
from speechprompt.downloads.download import download_model, fetch, link_copy, recorded_sum
from speechprompt.errors import AssetError

CONTENT = np.random.default_rng(0).bytes(300_000)
SUM = hashlib.sha256(CONTENT).hexdigest()


def asset(url: str, **settings) -> Asset:
    return Asset("data.bin", url, "none", **settings)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "kept" / "data.bin"


def names(out) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


@pytest.mark.parametrize("sha256", [SUM, None], ids=["published", "unpublished"])
def test_a_download_is_checked_and_recorded(host, out, sha256):
    url = host.serve("f", CONTENT)
    assert fetch(asset(url, sha256=sha256, size=len(CONTENT)), out) == out
    assert out.read_bytes() == CONTENT
    assert recorded_sum(out) == SUM
    assert names(out) == ["data.bin", "data.bin.sha256"]
    fetch(asset(url, sha256=sha256), out)
    assert len(host.requests) == 1


def test_a_download_is_on_the_disk_before_it_gets_its_name(host, out, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        usual = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=usual: (done.append((n, a)), f(*a))[1])
    fetch(asset(host.serve("f", CONTENT), sha256=SUM), out)
    place = next(i for i, (name, given) in enumerate(done) if name == "replace" and given[1] == out)
    assert done[place - 1][0] == "fsync"


@pytest.mark.parametrize("sha256", [SUM, None], ids=["published", "unpublished"])
def test_a_transfer_that_breaks_off_goes_on_where_it_was(host, out, sha256):
    host.cut_after += [100_000, 50_000]
    fetch(asset(host.serve("f", CONTENT), sha256=sha256), out)
    assert out.read_bytes() == CONTENT
    assert host.requests == ["", "bytes=100000-", "bytes=150000-"]


def test_the_next_run_goes_on_where_the_last_gave_up(host, out):
    url = host.serve("f", CONTENT)
    host.cut_after += [10_000] * download.ATTEMPTS
    with pytest.raises(AssetError, match=r"failed .* after 5 attempts; 50000 bytes are kept"):
        fetch(asset(url, sha256=SUM), out)
    assert not out.exists()
    host.requests.clear()
    fetch(asset(url, sha256=SUM), out)
    assert host.requests == ["bytes=50000-"]
    assert out.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(host, out):
    host.ranges = False
    host.cut_after += [100_000]
    fetch(asset(host.serve("f", CONTENT), sha256=SUM), out)
    assert out.read_bytes() == CONTENT


@pytest.mark.parametrize("tags", [True, False])
def test_without_a_sum_two_versions_are_never_mixed(host, out, tags):
    host.tags = tags
    url = host.serve("f", CONTENT)
    host.cut_after += [100_000] + [0] * (download.ATTEMPTS - 1)
    with pytest.raises(AssetError, match="failed"):
        fetch(asset(url), out)
    other = CONTENT[::-1]
    host.serve("f", other)
    fetch(asset(url), out)
    assert out.read_bytes() == other


def test_a_damaged_part_is_fetched_anew(host, out):
    url = host.serve("f", CONTENT)
    host.cut_after += [1000] * download.ATTEMPTS
    with pytest.raises(AssetError, match="failed"):
        fetch(asset(url, sha256=SUM), out)
    (part,) = out.parent.glob(".*.part")
    part.write_bytes(bytes(2000))
    fetch(asset(url, sha256=SUM), out)
    assert out.read_bytes() == CONTENT


@pytest.mark.parametrize("kept", [CONTENT, CONTENT + b"more"], ids=["whole", "longer"])
def test_a_part_as_long_as_the_file_or_longer(host, out, kept):
    url = host.serve("f", CONTENT)
    host.cut_after += [1000] * download.ATTEMPTS
    with pytest.raises(AssetError, match="failed"):
        fetch(asset(url, sha256=SUM), out)
    (part,) = out.parent.glob(".*.part")
    part.write_bytes(kept)
    fetch(asset(url, sha256=SUM), out)
    assert out.read_bytes() == CONTENT


def test_a_wrong_file_is_refused_and_not_kept(host, out):
    url = host.serve("f", b"<html>log in first</html>")
    with pytest.raises(AssetError, match=rf"expected the SHA-256 {SUM} \(published\), found"):
        fetch(asset(url, sha256=SUM), out)
    assert names(out) == []
    with pytest.raises(AssetError, match="expected 300000 bytes, the server has 25"):
        fetch(asset(url, sha256=SUM, size=300_000), out)


def test_more_than_the_known_size_is_not_written(host, out):
    host.lengths = False
    url = host.serve("f", CONTENT)
    with pytest.raises(AssetError, match="expected 1000 bytes, the server sends more"):
        fetch(asset(url, sha256=SUM, size=1000), out)


def test_without_a_published_sum_the_first_download_counts(host, out):
    url = host.serve("f", CONTENT)
    fetch(asset(url), out)
    out.unlink()
    host.serve("f", b"another file")
    with pytest.raises(AssetError, match=rf"expected the SHA-256 {SUM} \(recorded in .*sha256\)"):
        fetch(asset(url), out)
    out.with_name("data.bin.sha256").unlink()
    fetch(asset(url), out)
    assert out.read_bytes() == b"another file"


def test_a_file_put_there_by_hand_is_checked(host, out):
    out.parent.mkdir()
    out.write_bytes(CONTENT)
    fetch(asset("http://nowhere.invalid", sha256=SUM), out)
    assert recorded_sum(out) == SUM
    out.write_bytes(b"damaged")
    with pytest.raises(AssetError, match=r"expected the SHA-256 .*; remove the file"):
        fetch(asset("http://nowhere.invalid", sha256=SUM), out)
    out.with_name("data.bin.sha256").write_text("\n")
    with pytest.raises(AssetError, match="expected a line 'SHA-256  name'"):
        recorded_sum(out)


def test_only_what_may_pass_is_tried_again(host, out):
    url = host.serve("f", CONTENT)
    host.statuses += [503, 429, 500]
    fetch(asset(url, sha256=SUM), out)
    assert len(host.requests) == 4
    host.requests.clear()
    with pytest.raises(AssetError, match="404"):
        fetch(asset(f"{host.url}/none"), out.with_name("other"))
    assert len(host.requests) == 1


def test_a_host_that_does_not_answer(host, out):
    with pytest.raises(AssetError, match=r"download failed .* after 5 attempts; 0 bytes"):
        fetch(asset("http://127.0.0.1:1/f"), out)


def test_a_full_disk_is_named(host, out, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(AssetError, match=r"300000 bytes are needed for data\.bin, 1000 are free"):
        fetch(asset(host.serve("f", CONTENT)), out)


def test_the_table_is_well_formed():
    for name, item in ASSETS.items():
        assert name == item.name
        assert item.sha256 is None or (len(item.sha256) == 64 and int(item.sha256, 16))
        assert item.url.startswith(("http://", "https://"))
        assert item.size is None or item.size < item.max_unpacked
        assert item.licence


@pytest.mark.parametrize("name", ["data.bin", "f"])
def test_a_copy_is_linked_to_and_checked(host, out, tmp_path, name):
    own = asset(host.serve("f", CONTENT), sha256=SUM)
    with pytest.raises(AssetError, match=r"expected data\.bin or f"):
        link_copy(own, tmp_path, out)
    (tmp_path / name).write_bytes(CONTENT)
    link_copy(own, tmp_path, out)
    assert fetch(own, out).resolve() == tmp_path / name
    (tmp_path / name).write_bytes(CONTENT[1:])
    with pytest.raises(AssetError, match="expected the SHA-256"):
        fetch(own, out)
    assert not host.requests


def test_a_proxy_is_used(host, out, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", host.url)
    host.files["http://published.invalid/f"] = CONTENT
    fetch(asset("http://published.invalid/f", sha256=SUM), out)
    assert out.read_bytes() == CONTENT


PAGE = b"<!DOCTYPE html>\n<html><body>Please log in to this network first.</body></html>"


@pytest.mark.parametrize(
    ("content", "headers", "message"),
    [
        (PAGE, {}, r"what came is not data\.bin, and nothing of it is kept: .* is a web page"),
        (b"\n<?xml version='1.0'?><!-- a -->\n<HTML>", {}, "is a web page"),
        (CONTENT, {"Content-Type": "text/html; charset=utf-8"}, r"found a page \(text/html\)"),
        (gzip.compress(CONTENT), {"Content-Encoding": "gzip"}, "with the encoding gzip"),
        (b"", {}, "is empty"),
    ],
    ids=["page", "xml page", "page by its type", "encoded", "empty"],
)
@pytest.mark.parametrize("lengths", [True, False])
def test_something_else_is_never_recorded(host, out, content, headers, message, lengths):
    host.headers, host.lengths = headers, lengths
    url = host.serve("f", content)
    with pytest.raises(AssetError, match=message):
        fetch(asset(url), out)
    assert names(out) == []
    host.headers = {}
    host.serve("f", CONTENT)
    fetch(asset(url), out)
    assert recorded_sum(out) == SUM


def test_a_copy_that_proves_to_be_something_else_is_not_recorded(out):
    def prove(asset, path):
        raise AssetError(f"{path}: no {asset.name}")

    out.parent.mkdir()
    out.write_bytes(CONTENT)
    with pytest.raises(AssetError, match="no data"):
        fetch(asset("http://nowhere.invalid"), out, prove)
    assert names(out) == ["data.bin"]
    fetch(asset("http://nowhere.invalid", sha256=SUM), out, prove)


def saved(legacy=False):
    buffer = io.BytesIO()
    weights = {"w": torch.arange(10_000, dtype=torch.float32)}
    torch.save(weights, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def kmeans():
    return pickle.dumps(np.arange(50.0 * 80))


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("hubert_large_ll60k.pt", saved),
        ("hubert_large_ll60k.pt", lambda: saved(legacy=True)),
        ("hubert_fairseq_base_ls960.pth", saved),
        ("logmel_km50.bin", kmeans),
        ("hubert50_lm.tgz", None),
    ],
)
def test_a_model_without_a_sum_proves_what_it_is(host, out, monkeypatch, tar, name, made):
    noise = np.random.default_rng(1).bytes(50_000)
    archive = {"a/checkpoint_best.pt": noise, "a/dict.txt": b"0 1\n"}
    right = made() if made else tar(archive)
    url = host.serve("f", right)
    monkeypatch.setitem(ASSETS, name, replace(ASSETS[name], url=url))
    wrong = [noise, PAGE, tar({"a/readme": noise}), b"PK\3\4" + noise, right[:10_000], PAGE * 1000]
    if right[:1] != b"\x80" or name.endswith("bin"):  # the older format has no end of its own
        wrong.append(right[:-4000])
    host.lengths = False  # so that a cut is not announced
    for content in wrong:
        host.serve("f", content)
        with pytest.raises(AssetError, match="nothing of it is kept"):
            download_model(name, out)
        assert names(out) == []
    host.serve("f", right)
    download_model(name, out)
    assert recorded_sum(out) == hashlib.sha256(right).hexdigest()


def test_a_record_with_another_checksum_is_refused(host, out, monkeypatch):
    content = bytearray(saved())
    content[len(content) // 2] ^= 1
    name = "hubert_large_ll60k.pt"
    url = host.serve("f", bytes(content))
    monkeypatch.setitem(ASSETS, name, replace(ASSETS[name], url=url))
    with pytest.raises(AssetError, match="damaged"):
        download_model(name, out)
    assert names(out) == []


def test_a_transfer_of_a_few_bytes_a_second_ends(host, out, monkeypatch):
    monkeypatch.setattr(download, "SLOW_SECONDS", 0.35)
    host.drips = True
    url = host.serve("f", CONTENT)
    with pytest.raises(
        AssetError, match=r"only \d bytes came in 0 s\) after 5 attempts; \d+ bytes"
    ):
        fetch(asset(url, sha256=SUM), out)
    host.drips = False
    fetch(asset(url, sha256=SUM), out)
    assert int(host.requests[-1].removeprefix("bytes=").removesuffix("-")) >= 10
    assert out.read_bytes() == CONTENT


def test_headers_that_never_end_are_given_up(out, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(download, "PAUSES_SECONDS", (0,))
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

    def drip(connection):
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            for _ in range(200):
                connection.sendall(b"A: b\r\n")
                threading.Event().wait(0.05)

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(AssetError, match=r"no answer within 0\.3 s"):
        fetch(asset(f"http://127.0.0.1:{server.getsockname()[1]}/f"), out)
    server.close()


@pytest.mark.parametrize("sha256", [SUM, None], ids=["published", "unpublished"])
def test_of_several_processes_one_downloads(host, out, at_once, sha256):
    url = host.serve("f", CONTENT)
    assert at_once(lambda number: fetch(asset(url, sha256=sha256), out)) == [0] * 4
    assert host.requests == [""]
    assert out.read_bytes() == CONTENT
    assert names(out) == ["data.bin", "data.bin.sha256"]


def test_of_several_processes_with_a_copy_all_have_the_link(
    host, out, tmp_path, at_once, monkeypatch
):
    name = "hubert_km50.bin"
    monkeypatch.setitem(ASSETS, name, replace(ASSETS[name], sha256=SUM))
    (tmp_path / name).write_bytes(CONTENT)
    assert at_once(lambda number: download_model(name, out, tmp_path)) == [0] * 4
    assert out.resolve() == tmp_path / name
