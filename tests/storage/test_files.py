import pytest

from speechprompt.errors import ArtefactError
from speechprompt.storage.files import atomic_path, read_json
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


@pytest.mark.parametrize("content", [b"", b"abc", b"not a safetensors file at all", b"\x02" * 64])
@pytest.mark.parametrize("read", [read_tensors, read_tensor_metadata, read_json])
def test_a_damaged_file_is_named(tmp_path, content, read):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="broken"):
        read(path)
    with pytest.raises(ArtefactError, match="absent"):
        read(tmp_path / "absent")
