"""YAML and JSON text as values; a key that is there twice is an error."""

import json
from typing import Any

import yaml

__all__ = ["parse_text", "parse_yaml"]


def parse_text(text: str) -> Any:
    """Parse JSON, or else YAML.

    Raises:
        ValueError: this is neither, or a mapping has a key twice.
    """
    try:
        # JSON first: YAML would take 5e-05 for text.
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError:
        return parse_yaml(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_yaml(text: str) -> Any:
    """Parse YAML as ``yaml.safe_load`` does, but refuse a key that a mapping has twice.

    Raises:
        ValueError: this is no YAML, or a mapping has a key twice; the message names the line.
    """
    try:
        loader = yaml.SafeLoader(text.removeprefix("\ufeff"))
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_repeats(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_repeats(root: yaml.Node) -> None:
    """Refuse a key that a mapping has twice, of which YAML would take the last without a word."""
    nodes, seen = [root], set[int]()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                nodes.append(value)
                if not isinstance(key, yaml.ScalarNode):
                    continue
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise ValueError(
                        f"line {line}: the key {key.value!r} is there already, in line "
                        f"{lines[name]}; put both blocks into one"
                    )
                lines[name] = line


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found
