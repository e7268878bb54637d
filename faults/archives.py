"""Archives that hold anything, as somebody else may have packed them."""

import io
import tarfile

__all__ = ["pack_tar"]


def pack_tar(files: dict[str, bytes], *members: tarfile.TarInfo) -> bytes:
    """Pack files by their paths, or members with a type of their own, as tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return buffer.getvalue()
