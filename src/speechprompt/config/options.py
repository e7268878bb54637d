"""Configuration blocks as command-line options, and back: one definition for both."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Collection
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from speechprompt.errors import ConfigError

__all__ = ["add_options", "block_from_options", "options_from_block"]

Block = TypeVar("Block", bound=BaseModel)


def add_options(parser: argparse.ArgumentParser, block: type[BaseModel], prefix: str = "") -> None:
    """Add one option per field; nested blocks give ``--outer-inner``; help comes from the model.

    A block's ``kind`` is no option: the block itself says it.
    """
    for name, field in block.model_fields.items():
        if name == "kind":
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            add_options(parser, field.annotation, f"{prefix}{name}-")
            continue
        description = field.description or name
        if not field.is_required():
            description += f" (default: {_to_text(field.get_default(call_default_factory=True))})"
        parser.add_argument(
            _flag(prefix + name),
            dest=f"block-{prefix}{name}",
            default=argparse.SUPPRESS,
            metavar=name.upper(),
            help=description.replace("%", "%%"),
        )


def block_from_options(arguments: argparse.Namespace, block: type[Block]) -> Block:
    """Build the block from parsed options.

    Raises:
        ConfigError: naming the option, what was found and what is accepted.
    """
    try:
        return block.model_validate(_collect(vars(arguments), block, ""))
    except ValidationError as error:
        lines = []
        for entry in error.errors():
            flag = _flag("-".join(str(part) for part in entry["loc"]))
            lines.append(f"{flag}: {entry['msg']}, found {entry['input']!r}")
        raise ConfigError("\n".join(lines)) from None


def options_from_block(block: BaseModel, exclude: Collection[str] = ()) -> str:
    """Shell-quoted options that :func:`block_from_options` reads back.

    Left out are null fields, and those named in ``exclude`` with all they hold.
    """
    words: list[str] = []
    _flatten(block, "", exclude, words)
    return shlex.join(words)


def _flatten(block: BaseModel, prefix: str, exclude: Collection[str], words: list[str]) -> None:
    for name in type(block).model_fields:
        if name == "kind":
            continue
        value = getattr(block, name)
        if prefix + name in exclude:
            continue
        if isinstance(value, BaseModel):
            _flatten(value, f"{prefix}{name}-", exclude, words)
        elif value is not None:
            words += [_flag(prefix + name), _to_text(value)]


def _collect(values: dict[str, Any], block: type[BaseModel], prefix: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, field in block.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            result[name] = _collect(values, field.annotation, f"{prefix}{name}-")
        elif (text := values.get(f"block-{prefix}{name}")) is not None:
            result[name] = json.loads(text) if text[:1] in "[{" else text
    return result


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
