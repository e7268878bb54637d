"""Descriptions of artefacts as text for a terminal, in which long values are cut."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from speechprompt.inspect.artefacts import Inspection
from speechprompt.inspect.utterances import Utterance
from speechprompt.storage.tables import align_columns
from speechprompt.storage.text import printable

__all__ = ["cell", "describe_inspection", "describe_utterance"]

WIDEST_CELL = 32
WIDEST_VALUE = 90


def describe_inspection(found: Inspection) -> str:
    """Write a description as sections with titles; empty sections are left out."""
    sections = [
        printable(f"{found.path}: {found.kind}"),
        _pairs({name: _count(value) for name, value in found.facts.items()}),
        _titled("metadata", _pairs(_flatten(found.metadata))),
        _titled("provenance", _pairs(found.provenance, widest=200)),
        _titled("schema", _pairs(_layers_together(found.schema))),
        _titled("first rows" if found.schema else "rows", _table(found.rows)),
    ]
    return "\n\n".join(section for section in sections if section)


def describe_utterance(utterance: Utterance) -> str:
    """Write every column of an utterance, with whole sequences."""
    values = {
        name: " ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in utterance.row.items()
    }
    return f"{printable(str(utterance.part))}: utterance\n\n{_pairs(values, widest=100_000)}"


def cell(value: Any) -> str:
    """Write one value briefly: a long sequence by its beginning and its length."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if not isinstance(value, list | tuple):
        return _cut(str(value), WIDEST_CELL)
    if value and isinstance(value[0], list | tuple):
        return f"[{len(value)} x {len(value[0])}]"
    text = " ".join(cell(item) for item in value)
    if len(text) <= WIDEST_CELL - 2:
        return f"[{text}]"
    return f"[{text[: WIDEST_CELL - 14].rsplit(' ', 1)[0]} … {len(value)} in all]"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _layers_together(schema: Mapping[str, str]) -> dict[str, str]:
    """Put tensors that differ in the number of their layer only into one line."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for name, kind in schema.items():
        layer = re.search(r"\.(\d+)\.", name)
        key = name if layer is None else f"{name[: layer.start(1)]}*{name[layer.end(1) :]}"
        numbers.setdefault((key, kind), []).append(-1 if layer is None else int(layer.group(1)))
    together = {}
    for (key, kind), layers in numbers.items():
        span = str(layers[0]) if len(layers) == 1 else f"{{{layers[0]}…{layers[-1]}}}"
        together[printable(key.replace("*", span, 1))] = kind
    return together


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Replace nested mappings by dotted names."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            flat[prefix + name] = _list(value)
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _list(values: list[Any]) -> str:
    text = json.dumps(values, ensure_ascii=False)
    if len(text) <= WIDEST_VALUE:
        return text
    return f"{text[: WIDEST_VALUE - 16]} … {len(values)} in all"


def _pairs(values: Mapping[str, str], widest: int = WIDEST_VALUE) -> str:
    return _indented([[printable(name), _cut(value, widest)] for name, value in values.items()])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    names = list(rows[0])
    return _indented(
        [
            [printable(name) for name in names],
            *([cell(row.get(name)) for name in names] for row in rows),
        ]
    )


def _indented(rows: Sequence[Sequence[str]]) -> str:
    return textwrap.indent("\n".join(align_columns(rows)), "  ")


def _titled(title: str, text: str) -> str:
    return f"{title}\n{text}" if text else ""


def _cut(text: str, widest: int) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= widest else f"{text[: widest - 1]}…"
