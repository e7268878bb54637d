"""Proof that a file is what its name says, where no published sum tells."""

import re
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from speechprompt.downloads.assets import Asset
from speechprompt.errors import AssetError

__all__ = ["prove_model", "refuse_page"]

PAGE = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype|html|head|body)\b", re.I | re.S
)
# What GSLM's archives of a unit LM hold.
MEMBERS = ("checkpoint_best.pt", "dict.txt")
# The smallest published model is a codebook: 50 centroids of 80 float32 numbers.
SMALLEST_MODEL = 50 * 80 * 4
# How torch.save began before torch 1.6: a pickle of its magic number.
LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)


def refuse_page(path: Path) -> None:
    """Refuse an empty file and a web page.

    Raises:
        AssetError: the file is one of them.
    """
    with path.open("rb") as stream:
        beginning = stream.read(1024)
    if not beginning:
        raise AssetError(f"{path}: is empty")
    if PAGE.match(beginning):
        raise AssetError(
            f"{path}: is a web page, perhaps that of a network which wants a login; open it in a "
            "browser, then run again"
        )


def prove_model(asset: Asset, path: Path) -> None:
    """Check that a model file is whole and has the form that its name says.

    Args:
        asset: The model. ``.tgz`` is an archive of a unit LM, ``.pt`` and ``.pth`` are checkpoints
            of torch, and ``.bin`` is a k-means model of joblib.
        path: The file.

    Raises:
        AssetError: it is something else, is cut off, or is smaller than any model.
    """
    if (size := path.stat().st_size) < SMALLEST_MODEL:
        raise AssetError(f"{path}: expected a model, found {size} bytes only")
    form = Path(asset.name).suffix
    try:
        if form == ".tgz":
            _prove_archive(path)
        elif form in (".pt", ".pth"):
            _prove_checkpoint(path)
        elif form == ".bin":
            _prove_pickle(path)
    except DAMAGE as error:
        raise AssetError(f"{path}: is damaged or cut off ({error})") from error


def _prove_archive(path: Path) -> None:
    """Read the archive to its end, which its compression checks."""
    with tarfile.open(path, "r:gz") as stream:
        found = {PurePosixPath(member.name).name for member in stream if member.isreg()}
        # Behind the last member, too.
        assert stream.fileobj is not None  # it was opened by name
        while stream.fileobj.read(2**20):
            pass
    if missing := [name for name in MEMBERS if name not in found]:
        raise AssetError(f"{path}: expected an archive with {', '.join(missing)} in it")


def _prove_checkpoint(path: Path) -> None:
    """Check every record of a zip archive; of the older format, only how it begins."""
    with path.open("rb") as stream:
        beginning = stream.read(len(LEGACY_TORCH))
    if beginning == LEGACY_TORCH:
        return
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
        if "data.pkl" not in names:
            raise AssetError(f"{path}: expected a checkpoint of torch.save")
        if (damaged := archive.testzip()) is not None:
            raise AssetError(f"{path}: its record {damaged} is damaged")


def _prove_pickle(path: Path) -> None:
    """Check how a pickle begins and ends: with its protocol, and with STOP."""
    with path.open("rb") as stream:
        beginning = stream.read(2)
        stream.seek(-1, 2)
        end = stream.read(1)
    if not (beginning[:1] == b"\x80" and 2 <= beginning[1] <= 5 and end == b"."):
        raise AssetError(f"{path}: expected a whole file of joblib.dump")
