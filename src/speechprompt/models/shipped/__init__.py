"""Small pre-trained models that come with the package, each with a model card."""

from pathlib import Path

from speechprompt.errors import ArtefactError
from speechprompt.storage.files import copy_file
from speechprompt.storage.hashes import sha256_file

__all__ = ["SHIPPED", "TASKS", "copy_shipped", "shipped_model"]

FOLDER = Path(__file__).parent
# Name -> SHA-256.
SHIPPED = {
    "hubert-nano.safetensors": "2a2084f6cb80b24e9de94fc5b30bc4b288141333fcd7d67529b966f9206308db",
    "hubert-nano-100.safetensors": (
        "b9e26d55367d29bcfc7c922bc7bf5daa2997096c32ac5d8e207260613b1d2534"
    ),
    "hubert-nano-people.safetensors": (
        "266eb1e8e4d25815f9b1f32866451e9db502081a8ca3791a86a29b3b5d18703c"
    ),
    "hubert-nano-people-100.safetensors": (
        "7ffafc0dc39f0cc58a3f356a494f3cbc26b6da640156a42c8a60caf88120e480"
    ),
    "unit-lm-nano-people.safetensors": (
        "bea020c79eaac1fd58c4703ad797735dcb6aaaa47995c89b091354a74ef9b1b2"
    ),
    "unit-lm-nano.safetensors": "45edcf9820d52911f99859ebb41816a72e2087ff3c28e85f2bb2834140f4024d",
}

# Folders of finished tasks, whose model.json has the hashes of their files.
TASKS = {"ks": FOLDER / "ks"}


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
