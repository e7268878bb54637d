from __future__ import annotations

import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest

from speechprompt.corpora.download import unpack
from speechprompt.corpora.fsdd import download_fsdd, prepare_fsdd
from speechprompt.errors import CorpusError

NAMES = [f"{d}_{s}_{i}.wav" for d in (3, 7) for s in ("ann", "bo_b") for i in (0, 4, 5, 12)]


def rows(folder, split):
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


@pytest.mark.parametrize("below", ["", "recordings"])
def test_official_split(tmp_path, record, below):
    record(tmp_path / "root" / below, *NAMES)
    counts = prepare_fsdd(tmp_path / "root", tmp_path / "m", seed=0, valid_fraction=0.3)
    assert counts["test"] == 8
    assert counts["train"] + counts["valid"] == 8
    test = rows(tmp_path / "m", "test")
    assert {row["utt_id"].rsplit("_", 1)[1] for row in test} == {"0", "4"}
    assert {(row["digit"], row["speaker"]) for row in test} == {
        (digit, speaker) for digit in "37" for speaker in ("ann", "bo_b")
    }
    assert all((tmp_path / "root" / row["path"]).is_file() for row in test)


def test_left_out_speaker(tmp_path, record):
    record(tmp_path, *NAMES)
    prepare_fsdd(tmp_path, tmp_path / "m", seed=0, test_speaker="bo_b")
    assert {row["speaker"] for row in rows(tmp_path / "m", "test")} == {"bo_b"}
    assert len(rows(tmp_path / "m", "test")) == 8
    others = rows(tmp_path / "m", "train") + rows(tmp_path / "m", "valid")
    assert {row["speaker"] for row in others} == {"ann"}
    with pytest.raises(CorpusError, match=r"expected one of ann, bo_b .* found 'carl'"):
        prepare_fsdd(tmp_path, tmp_path / "m", seed=0, test_speaker="carl")


def test_wrong_folders(tmp_path, record):
    with pytest.raises(CorpusError, match="no such folder"):
        prepare_fsdd(tmp_path / "none", tmp_path / "m", seed=0)
    record(tmp_path, "hello.wav")
    with pytest.raises(CorpusError, match=r"expected recordings named .*, found none"):
        prepare_fsdd(tmp_path, tmp_path / "m", seed=0)


def test_real_recordings(tmp_path, shared_data):
    counts = prepare_fsdd(shared_data / "fsdd", tmp_path / "m", seed=0)
    assert counts["test"] == 4 * 10 * 5
    assert counts["train"] + counts["valid"] == 1800
    assert 140 <= counts["valid"] <= 220
    assert {row["sample_rate"] for row in rows(tmp_path / "m", "test")} == {8000}


def make_release(path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves a folder; answers in ``failures`` first."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    folder = tmp_path / "served"
    folder.mkdir()
    failures: list[int] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if failures:
                self.send_error(failures.pop())
            else:
                super().do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_address[1]}/release.tar.gz", failures
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_download_is_retried_recorded_and_enforced(tmp_path, server):
    folder, url, failures = server
    files = {
        "fsdd-1.0.10/README.md": b"no",
        "fsdd-1.0.10/recordings/1_ann_0.wav": b"one",
        "fsdd-1.0.10/recordings/2_ann_0.wav": b"two",
    }
    make_release(folder / "release.tar.gz", files)
    failures.append(503)
    out = tmp_path / "corpora" / "fsdd"
    assert download_fsdd(out, url=url) == out
    assert sorted(path.name for path in out.rglob("*.wav")) == ["1_ann_0.wav", "2_ann_0.wav"]
    assert (out / "recordings/2_ann_0.wav").read_bytes() == b"two"
    record = tmp_path / "corpora" / "fsdd.sha256"
    assert sorted(path.name for path in out.parent.iterdir()) == ["fsdd", "fsdd.sha256"]

    download_fsdd(out, url=url)
    make_release(folder / "release.tar.gz", {**files, "fsdd-1.0.10/recordings/3_a_0.wav": b"3"})
    with pytest.raises(CorpusError, match=r"expected the SHA-256 [0-9a-f]{64} recorded in"):
        download_fsdd(out, url=url)
    assert len(list(out.rglob("*.wav"))) == 2
    record.unlink()
    download_fsdd(out, url=url)
    assert len(list(out.rglob("*.wav"))) == 3


def test_failed_download(tmp_path, server):
    _, url, _ = server
    with pytest.raises(CorpusError, match="download failed"):
        download_fsdd(tmp_path / "fsdd", url=url)
    assert not (tmp_path / "fsdd").exists()
    assert not (tmp_path / "fsdd.sha256").exists()


def test_archives_are_not_trusted(tmp_path):
    archive = tmp_path / "a.tar.gz"
    make_release(archive, {"x/1.wav": b"1", "../../evil.wav": b"2"})
    with pytest.raises(CorpusError, match="would leave the folder"):
        unpack(archive, tmp_path / "out", lambda path: path)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.parent.rglob("evil.wav"))
    with pytest.raises(CorpusError, match="none of the files expected"):
        unpack(archive, tmp_path / "out", lambda path: None)
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out", lambda path: path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
