"""Verbs that use what was trained: predict, inspect."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from speechprompt.cli.verb import boolean, verb
from speechprompt.config.tasks import DecodingSettings
from speechprompt.errors import ConfigError
from speechprompt.runtime.progress import progress, show

if TYPE_CHECKING:
    from speechprompt.predict.answers import Answer


@verb(
    files={
        "prompt": "prompt that is published",
        "--unit-lm": "its unit LM",
        "--codebook": "its codebook; without, the task was trained on ready units",
        "--out": "model.json to write, in the folder where the prompt is published",
    },
    optional=("--codebook",),
    options={
        "--name": {"required": True, "help": "name of the task"},
        "--encoder": {"type": json.loads, "metavar": "JSON", "help": "the encoder's settings"},
        "--deduplicate": {"type": boolean, "default": True, "help": "default: true"},
    },
    settings=DecodingSettings,
)
def describe_model(a: argparse.Namespace, decoding: DecodingSettings) -> None:
    """Write down what a published prompt needs to answer new audio, and where it is."""
    from speechprompt.predict.task_folder import describe_model

    describe_model(
        a.out,
        task=a.name,
        prompt=a.prompt,
        unit_lm=a.unit_lm,
        codebook=a.codebook,
        encoder=a.encoder,
        deduplicate=a.deduplicate,
        decoding=decoding.model_dump(),
    )


@verb(
    files={
        "paths": "folders of tasks, such as results/ks, then recordings: files, folders, or - for "
        "paths on standard input, one a line",
        "--weights": "the encoder's weights, where they are no longer where they were",
    },
    many=("paths",),
    optional=("--weights",),
    options={
        "--list": {
            "action": "append",
            "type": Path,
            "default": [],
            "metavar": "FILE",
            "help": "file that lists recordings, one a line; may be repeated",
        },
        "--json": {
            "action": "store_true",
            "help": "JSON lines, with all probabilities; so it is off a terminal",
        },
        "--table": {"action": "store_true", "help": "a table; so it is on a terminal"},
    },
    compute=True,
)
def predict(a: argparse.Namespace) -> int:
    """Answer recordings with published tasks; the exit status is 1 if one could not be used."""
    from speechprompt.audio.paths import AudioPaths
    from speechprompt.predict.predictor import Predictor

    folders, arguments = _tasks_first(a.paths)
    if not arguments and not a.list:
        raise ConfigError("expected recordings: files, folders, --list FILE, or - for a list")
    if a.json and a.table:
        raise ConfigError("expected --json or --table, found both")
    paths = AudioPaths(arguments, a.list)
    predictor = Predictor.load(*folders, weights=a.weights, device=a.device)
    files = progress(paths, "predict", total=paths.total, unit="file")
    as_json = a.json or not (a.table or sys.stdout.isatty())
    return _print(predictor.stream(files, paths.is_waiting), as_json)


def _tasks_first(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    from speechprompt.predict.task_folder import is_task_folder, open_task

    n_tasks = next((i for i, path in enumerate(paths) if not is_task_folder(path)), len(paths))
    if n_tasks == 0:
        open_task(paths[0])  # which says what it is not
    if late := [path for path in paths[n_tasks:] if is_task_folder(path)]:
        raise ConfigError(f"{late[0]}: expected folders of tasks first, then recordings")
    return paths[:n_tasks], paths[n_tasks:]


@verb(
    files={
        "path": "Parquet, safetensors or JSON file, or a folder with an index or of a task",
        "--picture": "with --utterance: picture of it to write, PNG",
        "--root": "folder that the corpus's paths start from (default: the run's own)",
        "--predictions": "predictions to show in the picture",
    },
    optional=("--picture", "--root", "--predictions"),
    options={
        "--rows": {"type": int, "default": 5, "help": "first rows to show (default: 5)"},
        "--utterance": {"metavar": "ID", "help": "show this utterance of a units file or index"},
        "--json": {"action": "store_true", "help": "JSON instead of text"},
    },
)
def inspect(a: argparse.Namespace) -> None:
    """Say what an artefact is: schema, metadata, counts, hashes, provenance, first rows."""
    from speechprompt.inspect.artefacts import inspect_artefact
    from speechprompt.inspect.text import describe_inspection, describe_utterance
    from speechprompt.inspect.utterances import find_utterance, plot_utterance

    if a.utterance is None:
        if a.picture or a.root or a.predictions:
            raise ConfigError("--picture, --root and --predictions go with --utterance")
        found = inspect_artefact(a.path, a.rows)
        show(json.dumps(found.to_dict(), indent=2) if a.json else describe_inspection(found))
        return
    utterance = find_utterance(a.path, a.utterance)
    show(json.dumps(utterance.row) if a.json else describe_utterance(utterance))
    if a.picture:
        plot_utterance(utterance, a.picture, root=a.root, predictions=a.predictions)
    elif a.predictions or a.root:
        raise ConfigError("--root and --predictions go with --picture")


def _print(blocks: Iterable[list[Answer]], as_json: bool) -> int:
    """Print answers as they come; return the exit status."""
    from speechprompt.predict.answers import AnswerTable

    status, table = 0, AnswerTable()
    for answers in blocks:
        if any(answer.error is not None for answer in answers):
            status = 1
        if as_json:
            lines = (json.dumps(answer.to_dict(), ensure_ascii=False) for answer in answers)
            show("\n".join(lines))
        else:
            show(table.block(answers))
    return status
