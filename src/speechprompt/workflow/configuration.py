"""The configuration of a run: read, checked, and its files looked for, before any job starts."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from speechprompt.config import Config, merge, parse_config, read_config
from speechprompt.config.corpora import CsvCorpus
from speechprompt.config.setup import check_labels
from speechprompt.errors import ConfigError, CorpusError
from speechprompt.models.shipped import SHIPPED

__all__ = ["check_config", "check_files", "load_config"]


def load_config(
    values: Mapping[str, Any],
    default: str | Path,
    *,
    complete: bool,
    are_files_here: bool = True,
    files: Iterable[str | Path] = (),
) -> Config:
    """Check the set-up of a run.

    Args:
        values: what ``--configfile`` and ``--config`` gave.
        default: the configuration that ``values`` are laid over, unless they are complete.
        complete: ``values`` come from a ``--configfile``, a set-up of its own.
        are_files_here: whether the files that the set-up names are looked for.
        files: files that ``values`` come from. They are read again, because Snakemake would take
            the last of several equal keys without a word.

    Raises:
        ConfigError: a key is wrong or there twice, or as :func:`check_files`.
    """
    for file in files:
        read_config(file)
    config = parse_config(values if complete else merge(read_config(default), values))
    if are_files_here:
        check_files(config)
    return config


def check_config(file: str | Path) -> None:
    """Check a set-up and print it with every default filled in.

    Args:
        file: YAML configuration.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    config = parse_config(read_config(file))
    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), end="")
    check_files(config)


def check_files(config: Config) -> None:
    """Check what a set-up starts from: that it is there, and that tables have the tasks' labels.

    Raises:
        ConfigError: a file does not exist, is no table, or lacks a label of a task.
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
        # Only where a table must be read, because it loads pyarrow.
        from speechprompt.corpora.table import check_filled, read_label_columns

        try:
            check_labels(name, task.labels, task.corpus, read_label_columns(corpus.table))
            check_filled(corpus.table, task.labels)
        except (CorpusError, ValueError) as error:
            raise ConfigError(str(error)) from None


def _check_exists(key: str, path: str | None) -> None:
    if isinstance(path, str) and not Path(path).exists():
        raise ConfigError(
            f"{key}: no such file or folder: {path} (relative paths start from {Path.cwd()})"
        )
