"""References from one block of the configuration to another, by name."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from speechprompt.errors import nearest

__all__ = ["Placed", "all_behind", "require"]


class Placed(NamedTuple):
    """A block with its place in the configuration."""

    section: str
    name: str
    block: Any


def all_behind(config: Any, section: str, name: str) -> Iterator[Placed]:
    """A block and all blocks that it is made of, each once.

    Args:
        config: the set-up.
        section: key of the block's section, such as ``lm``.
        name: name of the block.
    """
    ahead, seen = [(section, name)], set[tuple[str, str]]()
    while ahead:
        if (place := ahead.pop()) in seen:
            continue
        seen.add(place)
        block = getattr(config, place[0])[place[1]]
        yield Placed(*place, block)
        pretraining = getattr(block, "pretraining", None)
        named = (
            ("corpora", getattr(block, "corpus", None)),
            ("corpora", getattr(block, "of", None)),
            ("codebooks", getattr(block, "codebook", None)),
            ("encoders", getattr(block, "encoder", None)),
            ("encoders", getattr(block, "weights_of", None)),
            ("lm", getattr(block, "lm", None)),
            ("lm", getattr(block, "start", None)),
            ("codebooks", getattr(pretraining, "targets", None)),
            ("encoders", getattr(pretraining, "start", None)),
        )
        ahead += [(other, name) for other, name in named if name is not None]


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
