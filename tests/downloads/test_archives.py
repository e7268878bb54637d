from __future__ import annotations

import gzip
import io
import os
import random
import stat
import tarfile
import zipfile

import pytest

from speechprompt.downloads.archives import unpack
from speechprompt.errors import AssetError
from speechprompt.storage.files import atomic_folder


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(files: dict[str, bytes], modes: dict[str, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, 0) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


@pytest.fixture
def attempt(tmp_path):
    """Unpack an archive's bytes into a folder of their own; only that may change."""

    def run(content: bytes, max_bytes: int = 10_000) -> dict[str, bytes]:
        folder = tmp_path / "there" / "out"
        folder.parent.mkdir(exist_ok=True)
        archive = tmp_path / "archive"
        archive.write_bytes(content)
        try:
            count = unpack(archive, folder, max_bytes=max_bytes)
        finally:
            assert {path.name for path in tmp_path.iterdir()} == {"archive", "there"}
            assert {path.name for path in folder.parent.iterdir()} <= {"out"}
            paths = [path for path in folder.rglob("*") if not path.is_dir()]
            assert not any(path.is_symlink() for path in paths)
        assert count == len(paths)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    return run


@pytest.mark.parametrize("pack", ["tar", "zip"])
def test_files_are_unpacked_whatever_their_mode(attempt, tar, pack):
    files = {"./a/1.wav": b"one", "a/b/2.wav": b"", "3.txt": b"three"}
    archive = tar(files, member("a", tarfile.DIRTYPE)) if pack == "tar" else zipped(files)
    assert attempt(archive) == {"a/1.wav": b"one", "a/b/2.wav": b"", "3.txt": b"three"}


def test_a_tar_that_ends_with_a_zip_is_a_tar(attempt):
    content, buffer = zipped({"inner": b"1"}), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("a.zip")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    assert zipfile.is_zipfile(buffer)
    assert attempt(buffer.getvalue()) == {"a.zip": content}


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "a/../../evil", "a\\..\\evil"])
@pytest.mark.parametrize("pack", ["tar", "zip"])
def test_paths_that_lead_out_are_refused(attempt, tar, pack, name):
    files = {"good.wav": b"1", name: b"2"}
    with pytest.raises(AssetError, match="would leave the folder; refused"):
        attempt(tar(files) if pack == "tar" else zipped(files))


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc"),
        (tarfile.SYMTYPE, "../../there"),
        (tarfile.LNKTYPE, "../archive"),
        (tarfile.LNKTYPE, "/etc/passwd"),
    ],
)
def test_links_that_lead_out_are_refused(attempt, tar, kind, target):
    with pytest.raises(AssetError, match=r"link a/link to '.*' would leave the folder"):
        attempt(tar({"good.wav": b"1"}, member("a/link", kind, target)))


def test_links_of_a_zip_that_lead_out_are_refused(attempt):
    archive = zipped({"a/link": b"../../x"}, {"a/link": stat.S_IFLNK | 0o777})
    with pytest.raises(AssetError, match="link a/link to"):
        attempt(archive)


def test_links_within_are_passed_over(attempt, tar):
    links = [
        member("a/link", tarfile.SYMTYPE, "../good.wav"),
        member("hard", tarfile.LNKTYPE, "good.wav"),
    ]
    assert attempt(tar({"good.wav": b"1"}, *links)) == {"good.wav": b"1"}
    archive = zipped({"good.wav": b"1", "l": b"good.wav"}, {"l": stat.S_IFLNK | 0o777})
    assert attempt(archive) == {"good.wav": b"1"}


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(attempt, tar, kind):
    with pytest.raises(AssetError, match="dev is neither a file nor a folder"):
        attempt(tar({"good.wav": b"1"}, member("dev", kind)))


def test_devices_of_a_zip_are_refused(attempt):
    with pytest.raises(AssetError, match="dev is neither a file nor a folder"):
        attempt(zipped({"dev": b""}, {"dev": stat.S_IFCHR | 0o666}))


@pytest.mark.parametrize("pack", ["tar", "zip"])
def test_a_bomb_stops_at_the_declared_size(attempt, tar, pack):
    files = {"a": bytes(6_000), "b": bytes(5_000)}
    archive = tar(files) if pack == "tar" else zipped(files)
    with pytest.raises(AssetError, match=r"more than the 10000 bytes .* stopped at b"):
        attempt(archive)
    assert len(attempt(archive, max_bytes=11_000)) == 2


def test_a_zip_that_lies_about_its_sizes(attempt):
    archive = zipped({"a": bytes(1_000_000)})
    lying = archive.replace((1_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lying != archive
    with pytest.raises(AssetError):
        attempt(lying)


@pytest.mark.parametrize("pack", ["tar", "zip"])
def test_damage_is_named(attempt, tar, pack):
    files = {"a": bytes(range(256)) * 20, "b": bytes(100)}
    archive = tar(files) if pack == "tar" else zipped(files)
    with pytest.raises(AssetError, match="cannot be unpacked"):
        attempt(archive[: len(archive) * 2 // 3])
    with pytest.raises(AssetError, match="cannot be unpacked"):
        attempt(b"not an archive")
    with pytest.raises(AssetError, match="expected files, found none"):
        attempt(tar({}) if pack == "tar" else zipped({}))


def test_a_changed_byte_of_a_compressed_archive_is_damage(attempt, tar):
    """Also one that decompresses to other samples: the sum is behind the end of the archive."""
    archive = tar({"a": random.Random(0).randbytes(5000)})
    for place in range(100, len(archive) - 100, 400):
        changed = bytearray(archive)
        changed[place] ^= 1
        with pytest.raises(AssetError, match="cannot be unpacked"):
            attempt(bytes(changed))


def test_a_failed_unpacking_leaves_the_old_folder(tmp_path, tar):
    archive, folder = tmp_path / "a", tmp_path / "out"
    archive.write_bytes(tar({"1": b"old"}))
    unpack(archive, folder, max_bytes=10)
    archive.write_bytes(tar({"1": b"new", "../2": b""}))
    with pytest.raises(AssetError):
        unpack(archive, folder, max_bytes=10)
    assert (folder / "1").read_bytes() == b"old"
    (tmp_path / ".out.part").mkdir()
    archive.write_bytes(tar({"2": b"new"}))
    unpack(archive, folder, max_bytes=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]
    assert [path.name for path in folder.iterdir()] == ["2"]


def test_processes_that_unpack_into_the_same_folder_all_succeed(tmp_path, tar, at_once):
    archive, folder = tmp_path / "a", tmp_path / "out"
    files = {f"{i}/{i}.wav": bytes([i]) * 100 for i in range(20)}
    archive.write_bytes(tar(files))

    def work(number):
        for _ in range(3):
            unpack(archive, folder, max_bytes=10_000)

    assert at_once(work) == [0] * 4
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("*/*")}
    assert found == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]


def test_a_folder_that_is_removed_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    opened, removed = os.open, []

    def removing(path, *arguments, **options):
        if str(path).endswith(".part") and not removed:
            removed.append(path)
            os.rmdir(path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr("speechprompt.storage.files.os.open", removing)
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
    assert removed
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_name_that_unpacks_to_gigabytes_is_not_read(attempt, kind):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, 2**33
    content = gzip.compress(header.tobuf() + bytes(10**6))
    with pytest.raises(AssetError, match="cannot be unpacked"):
        attempt(content)


def test_entries_that_are_no_files_are_counted(attempt, tar, monkeypatch):
    monkeypatch.setattr("speechprompt.downloads.archives.MAX_FILES", 10)
    folders = [member(f"a{i}", tarfile.DIRTYPE) for i in range(21)]
    with pytest.raises(AssetError, match="has more than 20 entries"):
        attempt(tar({}, *folders))
