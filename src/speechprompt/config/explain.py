"""Pydantic's errors in the configuration's own words: the key's path and what is accepted."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from speechprompt.config.corpora import AnyCorpus
from speechprompt.config.encoders import AnyEncoder
from speechprompt.config.fields import PATTERNS, members
from speechprompt.config.models import AnyCodebook, AnyUnitLm
from speechprompt.config.setup import Config
from speechprompt.errors import nearest

__all__ = ["accepted_keys", "explain", "reason_of"]

UNIONS = (AnyCorpus, AnyEncoder, AnyCodebook, AnyUnitLm)


def explain(entry: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors."""
    # Pydantic names the chosen member of a union in the path, but the file has no such key.
    kinds = {kind for union in UNIONS for kind in members(union)}
    location = [str(part) for part in entry["loc"]]
    parts = [p for i, p in enumerate(location) if not (i == 2 and p in kinds)]
    path = ".".join(part for part in parts if part != "[key]")
    message = reason_of(entry)
    if entry["type"] == "extra_forbidden":
        accepted = accepted_keys(location, Config.model_json_schema())
        close = nearest(location[-1], accepted) or ";"
        return f"{path}: unknown key{close} accepted here: {', '.join(accepted)}"
    if entry["type"] in ("value_error", "missing", "union_tag_not_found"):
        # Messages of this package may start with a key inside the block.
        key = re.split(r"[.:]", message)[0]
        known = accepted_keys([*location, key], Config.model_json_schema())
        joint = "." if key in known else ": "
        return f"{path}{joint}{message}" if path else message
    return f"{path}: {message}, found {entry['input']!r}"


def reason_of(entry: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says, without the key and the value."""
    message: str = entry["msg"].removeprefix("Value error, ")
    return PATTERNS.get(entry.get("ctx", {}).get("pattern"), message)


def accepted_keys(location: Sequence[str], schema: dict[str, Any]) -> list[str]:
    """Keys accepted in the block that holds the last element of ``location``.

    Args:
        location: keys from the top, with the member that pydantic chose of a union.
        schema: JSON schema of the top.
    """
    node: dict[str, Any] = schema
    for part in location[:-1]:
        node = _descend(schema, node, part)
    return sorted(_resolve(schema, node).get("properties", {}))


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node or "anyOf" in node:
        if "anyOf" in node:  # a block or null
            node = next((option for option in node["anyOf"] if "$ref" in option), {})
        else:
            node = schema["$defs"][re.sub(r"^#/\$defs/", "", node["$ref"])]
    return node


def _descend(schema: dict[str, Any], node: dict[str, Any], part: str) -> dict[str, Any]:
    node = _resolve(schema, node)
    mapping = node.get("discriminator", {}).get("mapping", {})
    if part in mapping:
        return {"$ref": mapping[part]}
    by_name: dict[str, Any] = next(iter(node.get("patternProperties", {}).values()), {})
    return node.get("properties", {}).get(part) or by_name
