"""The configuration's JSON schema and reference page, generated from the model that checks it."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from speechprompt.config import Config
from speechprompt.config.corpora import AnyCorpus
from speechprompt.config.crossvalidation import CrossvalidationSettings
from speechprompt.config.encoders import AnyEncoder, HubertPretraining
from speechprompt.config.fields import Block, members
from speechprompt.config.models import AnyCodebook, AnyUnitLm, PretrainingTaskSettings
from speechprompt.config.quality import QualitySettings
from speechprompt.config.sweep import SweepSettings, SweepSpace
from speechprompt.config.tasks import Task
from speechprompt.storage.files import write_text

__all__ = ["render_page", "render_schema", "write_reference"]

INTRODUCTION = """# Configuration

Generated from the model that checks it: `speechprompt write-reference`. A file given with
`--configfile` is a complete set-up of its own; `--config key=value` overrides single keys, nested
ones as `--config 'tasks={ks: {prompt: {length: 10}}}'`. An unknown key, a wrong type or an
impossible combination stops the run before any job starts.
"""

# Keys of a JSON schema that limit a number, and their signs.
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
BLOCKS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("Top level", Config),
    *(
        (f"`{key}.<name>`, kind `{kind}`", block)
        for key, union in (
            ("corpora", AnyCorpus),
            ("encoders", AnyEncoder),
            ("codebooks", AnyCodebook),
            ("lm", AnyUnitLm),
        )
        for kind, block in members(union).items()
    ),
    ("`encoders.<name>.pretraining`", HubertPretraining),
    ("`lm.<name>.pretraining_tasks`", PretrainingTaskSettings),
    ("`tasks.<name>`", Task),
    ("`tasks.<name>.crossvalidate`", CrossvalidationSettings),
    *(
        (f"`tasks.<name>.{key}`", type(field.default))
        for key, field in Task.model_fields.items()
        if isinstance(field.default, Block)
    ),
    ("`quality`", QualitySettings),
    ("`sweep`", SweepSettings),
    ("`sweep.spaces`, each", SweepSpace),
)


def render_schema() -> str:
    """The JSON schema, for editors that complete and check YAML."""
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


def render_page() -> str:
    """The reference page: per block a table of keys, accepted values, defaults and meaning."""
    sections = [INTRODUCTION]
    for title, block in BLOCKS:
        rows = ["| key | accepts | default | meaning |", "|---|---|---|---|"]
        schema = block.model_json_schema()
        rows += [
            f"| `{name}` | {_accepts(schema['properties'][name], schema)} "
            f"| {_default(field)} | {field.description or ''} |"
            for name, field in sorted(block.model_fields.items(), key=_comes_later)
        ]
        doc = (block.__doc__ or "").strip().splitlines()[0]
        sections.append(f"## {title}\n\n{doc}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(sections)


def _comes_later(item: tuple[str, FieldInfo]) -> bool:
    """Whether a field may be left out: those that must be given, and the kind, come first."""
    name, field = item
    return not field.is_required() and name != "kind"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{json.dumps(value)}`"


def _accepts(schema: dict[str, Any], root: dict[str, Any]) -> str:
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_accepts(option, root) for option in schema["anyOf"])
    if "$ref" in schema:
        return "a block"
    kind = schema.get("type", "")
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])}: {_accepts(schema['prefixItems'][0], root)}"
    if kind == "array":
        if "$ref" in schema["items"]:
            return "list of blocks"
        return f"list of {_accepts(schema['items'], root)}"
    if kind == "object":
        return "blocks by name"
    bounds = [f"{sign} {schema[key]}" for key, sign in BOUNDS.items() if key in schema]
    return " ".join([kind, *bounds])


def write_reference(page: str | Path, schema: str | Path) -> None:
    """Write the reference page and the JSON schema.

    Args:
        page: Markdown page to write.
        schema: JSON schema to write.
    """
    write_text(page, render_page())
    write_text(schema, render_schema())
