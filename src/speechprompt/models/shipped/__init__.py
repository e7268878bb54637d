"""Small pre-trained models that come with the package, each with a model card."""

from pathlib import Path

from speechprompt.errors import ArtefactError
from speechprompt.storage.files import copy_file
from speechprompt.storage.hashes import sha256_file

__all__ = ["FOLDER", "SHIPPED", "TASKS", "copy_shipped", "former_version", "shipped_model"]

FOLDER = Path(__file__).parent
# Name -> SHA-256.
SHIPPED = {
    "hubert-nano.safetensors": "9b99865b704286e05aa62bcccfdd80d035ea0e2a6b5d524fd18ad60ee784b281",
    "hubert-nano-50.safetensors": (
        "20caeb30926750bad7123315a3743bccda95a9f8d080f4df6c397dca66baa2e9"
    ),
    "hubert-nano-100.safetensors": (
        "f812c4e5c5c7f8593c4b50830dc000b6d1074840222293100983df99e22627a0"
    ),
    "hubert-nano-200.safetensors": (
        "93944f1a31074b8e34faae1d958d697341011aa75a59f1eea622894199a370ef"
    ),
    "unit-lm-nano.safetensors": "164177303d1b1c81b2656166277e5747a878b2e26aad0f713f5bdfc4e5b01e1a",
    "words-nano.safetensors": "586f512b668fbdf9c19bf8037c79451a387601f6b23a31ce3a393e4aa58bdb04",
}
# SHA-256 of a model that is no longer shipped -> the last version that shipped it.
FORMER = {
    "2a2084f6cb80b24e9de94fc5b30bc4b288141333fcd7d67529b966f9206308db": "0.1.0",
    "b9e26d55367d29bcfc7c922bc7bf5daa2997096c32ac5d8e207260613b1d2534": "0.1.0",
    "45edcf9820d52911f99859ebb41816a72e2087ff3c28e85f2bb2834140f4024d": "0.1.0",
}

# Folders of finished tasks, whose model.json has the hashes of their files.
TASKS = {name: FOLDER / name for name in ("ks", "digits")}


def shipped_model(name: str) -> Path:
    """Verify a shipped model and return its path.

    Args:
        name: A key of :data:`SHIPPED`.

    Raises:
        ArtefactError: there is no such model, or its file has changed.
    """
    if name not in SHIPPED:
        raise ArtefactError(f"shipped model: expected one of {', '.join(SHIPPED)}, found {name!r}")
    path = FOLDER / name
    if not path.is_file():
        raise ArtefactError(f"{path}: missing; install the package again")
    if (found := sha256_file(path)) != SHIPPED[name]:
        raise ArtefactError(
            f"{path}: expected sha256 {SHIPPED[name]}, found {found}; install the package again"
        )
    return path


def copy_shipped(model: str, out: str | Path) -> None:
    """Verify a model that comes with the package, and copy it.

    Args:
        model: name of the model.
        out: file to write.

    Raises:
        ArtefactError: for a reason of :func:`shipped_model`.
    """
    copy_file(shipped_model(model), out)


def former_version(sha256: str) -> str:
    """Say where a model is to be had that an earlier version shipped.

    Returns:
        the end of a message, which is empty for all other models.
    """
    version = FORMER.get(sha256)
    return (
        f"; version {version} of speechprompt (tag v{version}) shipped that file" if version else ""
    )
