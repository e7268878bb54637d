"""The configuration: one strict, typed model, the only source of defaults and of accepted values.

A set-up is checked as a whole before any job starts: unknown keys, wrong types and combinations
that cannot work raise :class:`~speechprompt.errors.ConfigError` with the key's path.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from speechprompt.config.explain import explain
from speechprompt.config.setup import Config
from speechprompt.config.text import parse_text
from speechprompt.errors import ConfigError, ConfigErrors, nearest
from speechprompt.storage.text import printable

__all__ = ["Config", "merge", "parse_config", "read_config"]


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``override``'s keys laid over it, block by block."""
    result = dict(base)
    for key, value in override.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


def parse_config(values: Mapping[str, Any]) -> Config:
    """Check a nested mapping and return the typed configuration.

    Raises:
        ConfigError: with one line per wrong key: path, what was found, what is accepted.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        lines = [printable(explain(entry)) for entry in error.errors()]
        raise ConfigErrors("the configuration is wrong:\n  " + "\n  ".join(lines)) from None


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a YAML file as a mapping.

    Raises:
        ConfigError: not readable, not YAML, not a mapping, or a key is there twice.
    """
    try:
        values = parse_text(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such configuration file (relative paths start from {Path.cwd()})"
            f"{nearest(Path(path).name, _configurations_beside(Path(path)))}"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


def _configurations_beside(path: Path) -> list[str]:
    return [found.name for found in path.parent.glob("*.y*ml")]
