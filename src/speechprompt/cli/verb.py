"""How a verb is declared: a function, its files, its options, and a block of settings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechprompt.config.values import block_from_value
from speechprompt.runtime.gpus import SLOTS, claim_gpu

__all__ = ["VERBS", "Verb", "boolean", "take_device", "verb"]


@dataclass(frozen=True)
class Verb:
    """One command; ``run`` gets the parsed options.

    It may return an exit status; none is 0.
    """

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]


VERBS: dict[str, Verb] = {}


def verb(
    *,
    files: dict[str, str],
    many: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    options: dict[str, dict[str, Any]] | None = None,
    settings: Any = None,
    seed: bool = False,
    threads: bool = False,
    compute: bool | Callable[[argparse.Namespace], bool] = False,
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Declare a verb; its name and help come from the function.

    Args:
        files: path options and their help; a name without ``--`` is positional.
        many: names in ``files`` that take one or more paths.
        optional: names in ``files`` that may be left out.
        options: further options, with argparse's settings.
        settings: class of the configuration's block that ``--settings`` gives, or a union of such
            classes; the function gets the block as its second argument.
        seed: whether there is a ``--seed``.
        threads: whether there is a ``--compute-threads``.
        compute: whether there are ``--compute-threads`` and ``--device``. A function decides by the
            options whether an accelerator is of use; where it is not, the device is the processor.
    """

    def configure(parser: argparse.ArgumentParser) -> None:
        for name, text in files.items():
            about: dict[str, Any] = {"type": Path, "metavar": "PATH", "help": text}
            if name in many:
                about["nargs"] = "+"
            if name.startswith("-"):
                about["required"] = name not in optional
            parser.add_argument(name, **about)
        for name, about in (options or {}).items():
            parser.add_argument(name, **about)
        if settings is not None:
            parser.add_argument(
                "--settings",
                required=True,
                metavar="VALUE",
                help="settings as in the configuration (docs/configuration.md): YAML or JSON text, "
                "or a .yaml or .json file",
            )
        if seed:
            parser.add_argument("--seed", type=int, default=1, help="default: 1")
        if threads or compute:
            add_compute_threads(parser)
        if compute:
            parser.add_argument(
                "--device",
                choices=("auto", "cpu", "cuda"),
                default=os.environ.get("SPEECHPROMPT_DEVICE", "auto"),
                help="default: $SPEECHPROMPT_DEVICE, else auto",
            )

    def declare(function: Callable[..., int | None]) -> Callable[..., int | None]:
        def run(arguments: argparse.Namespace) -> int | None:
            if compute:
                from speechprompt.runtime.device import set_compute_threads

                set_compute_threads(arguments.compute_threads)
                useful = compute is True or compute(arguments)
                arguments.device = take_device(arguments.device) if useful else "cpu"
            if settings is None:
                return function(arguments)
            return function(arguments, block_from_value(arguments.settings, settings))

        name = function.__name__.replace("_", "-")
        VERBS[name] = Verb(name, (function.__doc__ or "").strip(), configure, run)
        return function

    return declare


def take_device(name: str) -> str:
    """``cpu`` or ``cuda``; of the GPUs that a local run shares out, this process gets one.

    Raises:
        ConfigError: ``cuda`` is asked for on a machine without one.
    """
    from speechprompt.runtime.device import resolve_device

    slots = os.environ.get(SLOTS)
    if name == "cuda" and slots:
        os.environ["CUDA_VISIBLE_DEVICES"] = claim_gpu(slots.split(","))
    return resolve_device(name)


def add_compute_threads(parser: argparse.ArgumentParser) -> None:
    """Add ``--compute-threads``; the pipeline sets it by the environment."""
    parser.add_argument(
        "--compute-threads",
        type=int,
        metavar="N",
        default=os.environ.get("SPEECHPROMPT_COMPUTE_THREADS", "2"),
        help="threads of numeric work; default: $SPEECHPROMPT_COMPUTE_THREADS, else 2",
    )


def boolean(text: str) -> bool:
    """Parse ``true`` or ``false``, in any case."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, found {text!r}")
    return text.lower() == "true"
