"""Folders of recordings, and lists of them."""

import os
from pathlib import Path

import pytest

from speechprompt.audio import paths
from speechprompt.audio.paths import AudioPaths, recordings_at
from speechprompt.audio.reading import AudioError
from speechprompt.errors import CorpusError


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found_in(folder: Path) -> list[str]:
    return [
        str(item) if isinstance(item, AudioError) else item.relative_to(folder).as_posix()
        for item in recordings_at(folder)
    ]


def test_what_is_passed_over_is_said(tmp_path, capsys):
    put(tmp_path, "a.wav", "b.VOC", "c.m4a", "d/e.webm", "d/notes.txt", ".hidden.wav", "f")
    first, second, phone, web = found_in(tmp_path)
    assert [first, second] == ["a.wav", "b.VOC"]
    assert phone == f"{tmp_path}/c.m4a: m4a is not read; convert it, as to FLAC"
    assert "webm is not read" in web
    assert "passed over as no recordings: f, d/notes.txt" in capsys.readouterr().err


def test_links_that_meet_or_loop_give_a_recording_once(tmp_path):
    put(tmp_path, "one/a.wav", "two/b.wav")
    (tmp_path / "one" / "up").symlink_to(tmp_path)
    (tmp_path / "three").symlink_to("two")
    (tmp_path / "two" / "c.wav").symlink_to("../one/a.wav")
    (tmp_path / "two" / "self").symlink_to("self")
    assert found_in(tmp_path) == ["one/a.wav", "three/b.wav"]


def test_a_closed_folder_is_reported(tmp_path, monkeypatch):
    put(tmp_path, "a.wav", "closed/b.wav")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(paths.os, "scandir", refuse)
    assert found_in(tmp_path) == [
        "a.wav",
        f"{tmp_path}/closed: cannot be opened (Permission denied)",
    ]


def test_a_list_need_not_be_text(tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"\xef\xbb\xbfa.wav\r\n\ncaf\xe9.wav\n")
    assert list(AudioPaths([], [listed])) == [Path("a.wav"), Path("caf\udce9.wav")]
    listed.write_bytes(b"RIFF\0\0")
    with pytest.raises(CorpusError, match=r"list\.txt: expected a path a line, found binary"):
        AudioPaths([], [listed])


def test_a_name_that_is_too_long_is_a_recording_that_is_not_there():
    name = Path("x" * 300)
    assert recordings_at(name) == [name]
