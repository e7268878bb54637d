"""Small pre-trained models that come with the package; a card beside each says what it is."""

from __future__ import annotations

from pathlib import Path

from speechprompt.errors import ArtefactError
from speechprompt.files import sha256_file

__all__ = ["SHIPPED", "shipped_model"]

FOLDER = Path(__file__).parent
# Name -> SHA-256.
SHIPPED: dict[str, str] = {}


def shipped_model(name: str) -> Path:
    """The path of a shipped model, verified.

    Args:
        name: A key of :data:`SHIPPED`.

    Raises:
        ArtefactError: no such model, or the file is not the one that was shipped.
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
