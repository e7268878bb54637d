"""Any archive: nothing is written elsewhere."""

import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from properties import edited, examples, soon
from speechprompt.downloads.archives import unpack
from speechprompt.errors import AssetError

NAMES = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", "c" * 300, "\\", "\udc80", "\n", "~", "C:"]),
    min_size=1,
    max_size=4,
).map("/".join)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)
ENTRIES = st.lists(st.tuples(NAMES, KINDS, NAMES, st.binary(max_size=20)), min_size=1, max_size=5)


def as_tar(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", errors="surrogateescape") as archive:
        for name, kind, target, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target if kind in b"12" else ""
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def as_zip(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, kind, target, content in entries:
            info = zipfile.ZipInfo(name.replace("\udc80", "x") or "x")
            mode = {tarfile.SYMTYPE: 0o120777, tarfile.FIFOTYPE: 0o010666}.get(kind, 0)
            info.external_attr = mode << 16
            text = target.encode("utf-8", "replace") if kind == tarfile.SYMTYPE else content
            archive.writestr(info, text)
    return buffer.getvalue()


GOOD = [("a/1.wav", tarfile.REGTYPE, "", b"one" * 9), ("b", tarfile.SYMTYPE, "a/1.wav", b"")]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@examples(200)
@given(
    content=st.one_of(
        ENTRIES.map(as_tar),
        ENTRIES.map(as_zip),
        edited(as_tar(GOOD)),
        edited(as_zip(GOOD)),
        st.binary(max_size=40),
    )
)
def test_an_archive_writes_nothing_elsewhere(tmp_path, content):
    place = tmp_path / "there"
    place.mkdir(exist_ok=True)
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    with soon(AssetError, archive):
        unpack(archive, place / "out", max_bytes=1000)
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "there"}
    assert {path.name for path in place.iterdir()} <= {"out"}
    assert not any(path.is_symlink() for path in (place / "out").rglob("*"))
