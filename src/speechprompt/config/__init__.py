"""The configuration: one strict, typed model, the only source of defaults and of accepted values.

A set-up is checked as a whole before any job starts: unknown keys, wrong types and combinations
that cannot work raise :class:`~speechprompt.errors.ConfigError` with the key's path.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from speechprompt.config.corpora import CsvCorpus
from speechprompt.config.explain import explain
from speechprompt.config.setup import Config, check_labels
from speechprompt.errors import ConfigError, CorpusError
from speechprompt.shipped import SHIPPED

__all__ = ["Config", "check_files", "load_config", "merge", "parse_config", "read_config"]


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
        lines = [explain(entry) for entry in error.errors()]
        raise ConfigError("the configuration is wrong:\n  " + "\n  ".join(lines)) from None


def load_config(values: Mapping[str, Any], default: str | Path, complete: bool) -> Config:
    """Check the set-up of a run.

    Args:
        values: what ``--configfile`` and ``--config`` gave.
        default: the configuration that ``values`` are laid over, unless they are complete.
        complete: ``values`` come from a ``--configfile``, a set-up of its own.

    Raises:
        ConfigError: a key is wrong, or as :func:`check_files`.
    """
    config = parse_config(values if complete else merge(read_config(default), values))
    check_files(config)
    return config


def check_files(config: Config) -> None:
    """Check what a set-up starts from: that it is there, and that tables have the tasks' labels.

    Raises:
        ConfigError: a file does not exist, is no table, or lacks a label column.
    """
    for name, corpus in config.corpora.items():
        for key in ("table", "root", "train", "valid", "test"):
            _check_exists(f"corpora.{name}.{key}", getattr(corpus, key, None))
    for name, book in config.codebooks.items():
        _check_exists(f"codebooks.{name}.dictionary", getattr(book, "dictionary", None))
    for section in ("encoders", "codebooks", "lm"):
        for name, block in getattr(config, section).items():
            if (weights := getattr(block, "weights", None)) not in SHIPPED:
                _check_exists(f"{section}.{name}.weights", weights)
    _check_tables(config)


def _check_tables(config: Config) -> None:
    for name, task in config.tasks.items():
        corpus = config.corpora[task.corpus]
        if not isinstance(corpus, CsvCorpus):
            continue
        from speechprompt.corpora.table import read_label_columns

        try:
            check_labels(name, task.labels, task.corpus, read_label_columns(corpus.table))
        except (CorpusError, ValueError) as error:
            raise ConfigError(str(error)) from None


def _check_exists(key: str, path: str | None) -> None:
    if isinstance(path, str) and not Path(path).exists():
        raise ConfigError(
            f"{key}: no such file or folder: {path} (relative paths start from {Path.cwd()})"
        )


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a YAML file as a mapping.

    Raises:
        ConfigError: not readable, not YAML, or not a mapping.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values
