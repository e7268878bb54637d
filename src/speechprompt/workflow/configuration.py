"""The configuration of a run: read, checked, and its files looked for, before any job starts."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from speechprompt.config import Config, merge, parse_config, read_config
from speechprompt.config.corpora import CsvCorpus, ListedCorpus, ParquetCorpus
from speechprompt.config.encoders import CpcEncoder, FromHub, TransformerEncoder
from speechprompt.config.iterations import check_layer
from speechprompt.config.setup import check_labels, check_speakers
from speechprompt.corpora.registry import listing_of
from speechprompt.downloads.assets import ASSETS
from speechprompt.downloads.model_folder import (
    CONFIG,
    REPOSITORY,
    folder_of,
    is_folder,
    read_object,
)
from speechprompt.errors import ArtefactError, ConfigError, CorpusError, nearest
from speechprompt.models.shipped import FOLDER, SHIPPED
from speechprompt.storage.tensors import read_tensor_header
from speechprompt.workflow.paths import REPLACED

__all__ = ["check_config", "check_files", "load_config"]


def load_config(
    values: Mapping[str, Any],
    default: str | Path,
    *,
    complete: bool,
    are_files_here: bool = True,
    is_alone: bool = True,
    files: Iterable[str | Path] = (),
) -> Config:
    """Check the set-up of a run.

    Args:
        values: what ``--configfile`` and ``--config`` gave.
        default: the configuration that ``values`` are laid over, unless they are complete.
        complete: ``values`` come from a ``--configfile``, a set-up of its own.
        are_files_here: whether the files that the set-up names are looked for.
        is_alone: whether no other workflow may make a checkpoint that is not there.
        files: files that ``values`` come from. They are read again, because Snakemake would take
            the last of several equal keys without a word.

    Raises:
        ConfigError: a key is wrong or there twice, Snakemake cannot use a path, or as
            :func:`check_files`.
    """
    for file in files:
        read_config(file)
    config = parse_config(values if complete else merge(read_config(default), values))
    _refuse_patterns(config)
    if are_files_here:
        check_files(config)
        if is_alone:
            _check_hub_names(config)
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
    _refuse_patterns(config)
    check_files(config)
    _check_hub_names(config)


def check_files(config: Config) -> None:
    """Check what a set-up starts from: that it is there, and has the labels and layers asked for.

    Raises:
        ConfigError: a file does not exist, is no table, or lacks a label of a task; an encoder
            has fewer layers than ``layer``.
    """
    for name, corpus in config.corpora.items():
        _check_exists(f"corpora.{name}.root", getattr(corpus, "root", None))
    for key, path in _inputs(config):
        if not key.endswith(".checkpoint"):  # a missing one may be made by another workflow
            _check_exists(key, path)
    _check_layers(config)
    _check_tables(config)


def _inputs(config: Config) -> Iterator[tuple[str, str]]:
    """Keys and paths of the user's files that are inputs of rules."""
    keys = ("table", "folder", "train", "valid", "test", "dictionary", "weights", "checkpoint")
    for section in ("corpora", "encoders", "codebooks", "lm"):
        for name, block in getattr(config, section).items():
            for key in keys:
                value = getattr(block, key, None)
                is_list = isinstance(value, list) and isinstance(block, ListedCorpus)
                paths = list(value) if is_list else [value]  # type: ignore[arg-type]
                for path in paths:
                    if isinstance(path, str) and path not in {*SHIPPED, *ASSETS}:
                        yield f"{section}.{name}.{key}", path
    for name, task in config.tasks.items():
        if (start := task.prompt.start) and start not in SHIPPED:
            yield f"tasks.{name}.prompt.start", start


def _check_hub_names(config: Config) -> None:
    """Refuse a checkpoint that is not there and may be a model on the hub without a revision."""
    for section in ("encoders", "lm"):
        for name, block in getattr(config, section).items():
            if not isinstance(block, FromHub) or block.revision or block.published:
                continue
            checkpoint = block.checkpoint or ""
            if REPOSITORY.fullmatch(checkpoint) and not Path(checkpoint).exists():
                raise ConfigError(
                    f"{section}.{name}.checkpoint: no such file or folder: {checkpoint}; a model "
                    "of this name on the Hugging Face hub needs `revision`, the commit"
                )


def _refuse_patterns(config: Config) -> None:
    """Refuse paths of inputs that Snakemake would take for patterns; it has no way to mask them."""
    for key, path in _inputs(config):
        if found := REPLACED.search(path):
            raise ConfigError(
                f"{key}: Snakemake would replace {found[0]!r} in the path {path!r}; rename the "
                "file or folder, or give a link with another name"
            )


def _check_layers(config: Config) -> None:
    """Check the layers of encoders whose models are files or folders."""
    with_layers = TransformerEncoder | CpcEncoder
    for name, encoder in config.encoders.items():
        source = config.encoders[getattr(encoder, "weights_of", None) or name]
        if not isinstance(encoder, with_layers) or not isinstance(source, with_layers):
            continue
        model = source.weights or source.checkpoint
        if model and (n_layers := _layers_in(FOLDER / model if model in SHIPPED else Path(model))):
            try:
                check_layer(name, encoder.layer, n_layers, model)
            except ValueError as error:
                raise ConfigError(str(error)) from None


def _layers_in(model: Path) -> int | None:
    """Layers of an encoder's weights, or of the model of transformers in a folder.

    None where they are not known. The job that reads a damaged model says what is wrong with it.
    """
    try:
        if is_folder(model):
            found = read_object(folder_of(model) / CONFIG)
        elif model.is_file():
            found = read_tensor_header(model, checked=False)[1]["config"]
        else:
            return None
        keys = ("num_hidden_layers", "encoder_num_layers", "nLevelsGRU")
        counts = [found.get(key) for key in keys]
    except (ArtefactError, AttributeError, KeyError):
        return None
    return next((count for count in counts if type(count) is int), None)


def _check_tables(config: Config) -> None:
    for name, task in config.tasks.items():
        corpus = config.corpora[task.corpus]
        if not isinstance(corpus, ListedCorpus):
            continue
        if (
            isinstance(corpus, ParquetCorpus)
            and corpus.repository
            and not Path(corpus.base).exists()
        ):
            continue  # its columns are known once it was fetched
        # Only where a table must be read, because it loads pyarrow.
        from speechprompt.corpora.table import check_filled

        try:
            columns = listing_of(corpus).label_columns_of(corpus)
            check_labels(name, task.labels, task.corpus, columns)
            if task.crossvalidate:
                check_speakers(f"tasks.{name}.crossvalidate", task.corpus, columns)
            if isinstance(corpus, CsvCorpus):
                check_filled(corpus.table, task.labels)
        except (CorpusError, ValueError) as error:
            raise ConfigError(str(error)) from None


def _check_exists(key: str, path: str | None) -> None:
    if isinstance(path, str) and not Path(path).exists():
        raise ConfigError(
            f"{key}: no such file or folder: {path} (relative paths start from {Path.cwd()})"
            f"{nearest(path, [*SHIPPED, *ASSETS])}"
        )
