"""YAML and JSON text as values; a key that is there twice is an error."""

import json
from typing import Any

import yaml

__all__ = ["parse_text", "parse_yaml"]

# No configuration is as long, or has as many values once its aliases are written out.
LONGEST, MOST_VALUES = 10_000_000, 200_000
# YAML's numbers in base 60 take a time that grows with the square of their length.
LONGEST_NUMBER = 100
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def parse_text(text: str) -> Any:
    """Parse JSON, or else YAML.

    Raises:
        ValueError: this is neither, a mapping has a key twice, or it is too large.
    """
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST} characters")
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
        ValueError: this is no YAML, a mapping has a key twice, or aliases make it too large or
            contain themselves; the message names the line.
    """
    try:
        loader = yaml.SafeLoader(text.removeprefix("\ufeff"))
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_repeats(node)
        _refuse_bombs(node)
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


def _refuse_bombs(root: yaml.Node) -> None:
    """Refuse aliases of aliases, of which a few lines stand for billions of values."""
    sizes: dict[int, int] = {}  # of a node with all that is in it; 0 while that is counted
    nodes = [root]
    while nodes:
        node = nodes[-1]
        inner = _inside(node)
        if id(node) not in sizes:
            sizes[id(node)] = 0
            if any(sizes.get(id(one)) == 0 for one in inner):
                raise ValueError(f"line {node.start_mark.line + 1}: it contains itself")
            nodes += [one for one in inner if id(one) not in sizes]
            if node.tag in NUMBERS and len(node.value) > LONGEST_NUMBER:
                raise ValueError(f"line {node.start_mark.line + 1}: a number is too long")
            continue
        nodes.pop()
        sizes[id(node)] = sizes[id(node)] or 1 + sum(sizes[id(one)] for one in inner)
        if sizes[id(node)] > MOST_VALUES:
            raise ValueError(
                f"line {node.start_mark.line + 1}: with its aliases it has more than "
                f"{MOST_VALUES} values"
            )


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found
