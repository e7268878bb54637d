"""References from one block of the configuration to another, by name."""

from collections.abc import Mapping
from typing import Any

from speechprompt.errors import nearest

__all__ = ["require"]


def require(key: str, name: str, table: Mapping[str, Any]) -> None:
    """Check that a block has a name.

    Args:
        key: path of the key that names it.
        name: name of the block.
        table: all blocks of its section.

    Raises:
        ValueError: naming the key, the nearest name and all that there are.
    """
    if name not in table:
        known = ", ".join(sorted(table)) or "none is configured"
        close = nearest(name, table) or ";"
        raise ValueError(f"{key}: {name!r} is not known{close} known: {known}")
