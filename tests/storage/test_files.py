import errno
import os

import pytest

from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.storage.files import (
    atomic_folder,
    atomic_path,
    content_of,
    read_json,
    text_lines,
    write_text,
)
from speechprompt.storage.tensors import read_tensor_metadata, read_tensors


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "sync", "replace"):
        usual = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=usual: (done.append(n), f(*a))[1])
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("content")
    assert done == ["fsync", "replace"]
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "file").write_text("content")
    assert done[2] == "sync"
    assert set(done[3:]) == {"replace"}


@pytest.mark.parametrize("content", [b"", b"abc", b"not a safetensors file at all", b"\x02" * 64])
@pytest.mark.parametrize("read", [read_tensors, read_tensor_metadata, read_json])
def test_a_damaged_file_is_named(tmp_path, content, read):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="broken"):
        read(path)
    with pytest.raises(ArtefactError, match="absent"):
        read(tmp_path / "absent")


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "marked.txt"
    path.write_text('["a"]\nb\n', encoding="utf-8-sig")
    assert list(text_lines(path, ArtefactError)) == [(1, '["a"]'), (2, "b")]
    path.write_text('["a"]\n', encoding="utf-8-sig")
    assert read_json(path) == ["a"]


def test_a_wrong_byte_is_named_with_its_line(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"a\n\ncaf\xe9\n")
    with pytest.raises(ArtefactError, match=r"latin\.txt: .*line 3: .*0xe9"):
        list(text_lines(path, ArtefactError))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path, number):
    path = tmp_path / "file.txt"

    def write(error):
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    reason = os.strerror(number)
    with pytest.raises(ArtefactError, match=rf"file\.txt: cannot be written \({reason}\); .*place"):
        write(OSError(number, reason))
    # As Arrow reports it.
    with pytest.raises(ArtefactError, match=reason):
        write(OSError(f"[Errno {number}] Error writing bytes to file. Detail: [errno {number}]"))
    with pytest.raises(FileNotFoundError):
        write(FileNotFoundError(errno.ENOENT, "No such file", "input.txt"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArtefactError, match="cannot be written"), atomic_path("/dev/null/a/b"):
        pass


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("x\ny"), IndexError(), ValueError("z")])
def test_content_of_another_program_is_named_by_its_file(error):
    expected = r"odd\.json: its content is not as this .*Error"
    with pytest.raises(ArtefactError, match=expected), content_of("odd.json"):
        raise error
    with pytest.raises(CorpusError), content_of("odd.json"):
        raise CorpusError("says more")


def test_a_device_or_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtefactError, match="pipe: expected a file or none, found a device or"):
        write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
