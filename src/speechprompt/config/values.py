"""A block of settings as one value: JSON on its way to a job, YAML or JSON from a person."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from speechprompt.config.explain import accepted_keys, reason_of
from speechprompt.config.fields import Block
from speechprompt.config.text import parse_text
from speechprompt.errors import ConfigError, ConfigErrors, nearest
from speechprompt.storage.text import printable

__all__ = ["block_from_value", "block_to_json"]


def block_to_json(block: Block, exclude: Collection[str] = ()) -> str:
    """A block as one line of JSON, less the fields named in ``exclude``."""
    return block.model_dump_json(exclude=set(exclude))


def block_from_value(value: str, block: Any, name: str = "--settings") -> Any:
    """Build a block from JSON or YAML text, or from a file that holds it.

    Args:
        value: the text, or the path of a file.
        block: class of the block, or a union of classes that ``kind`` tells apart.
        name: what the value is called in messages.

    Raises:
        ConfigError: naming each wrong key, what was found and what is accepted.
    """
    text = value
    if "\n" not in value and value.lower().endswith((".json", ".yaml", ".yml")):
        try:
            text = Path(value).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name}: {value}: cannot be read ({error})") from None
    try:
        found = parse_text(text)
    except ValueError as error:
        raise ConfigError(
            f"{name}: expected YAML or JSON, found {text[:200]!r} ({error})"
        ) from None
    adapter = TypeAdapter(block)
    try:
        return adapter.validate_python(found)
    except ValidationError as error:
        lines = [printable(f"{name}: {_explain(entry, adapter)}") for entry in error.errors()]
        raise ConfigErrors("\n".join(lines)) from None


def _explain(entry: Any, adapter: TypeAdapter) -> str:
    location = [str(part) for part in entry["loc"]]
    path = ".".join(location)
    message = reason_of(entry)
    found = "" if entry["type"] == "missing" else f", found {entry['input']!r}"
    if entry["type"] == "extra_forbidden":
        found += nearest(location[-1], accepted_keys(location, adapter.json_schema()))
    return f"{path}: {message}{found}" if path else message
