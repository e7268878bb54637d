"""A verb of the command line: the function that it runs, and its options."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from speechprompt.cli.signature import REQUIRED, Parameter, read_parameters
from speechprompt.errors import ConfigError
from speechprompt.runtime.gpus import SLOTS, claim_gpu

__all__ = ["ExitStatus", "Verb", "boolean", "find", "take_device"]

# More threads than any machine has cores for would only take memory.
MOST_THREADS = 1024
NUMBER, PATH = {"type": int, "metavar": "N"}, {"type": Path, "metavar": "PATH"}


def n_threads(text: str) -> int:
    """Parse a number of threads."""
    if not (text.isdecimal() and len(text) < 10 and 1 <= int(text) <= MOST_THREADS):
        raise argparse.ArgumentTypeError(
            f"expected a number above 0 and up to {MOST_THREADS}, found {text!r}"
        )
    return int(text)


def seed(text: str) -> int:
    """Parse a seed of a random number generator."""
    if not (text.isdecimal() and len(text) < 11 and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {2**32 - 1}, found {text!r}")
    return int(text)


# Options that are the same for all verbs.
SHARED: dict[str, dict[str, Any]] = {
    "--seed": NUMBER
    | {"type": seed, "default": 1, "help": "seed of all that is drawn (default: 1)"},
    "--encoder-weights": PATH
    | {"default": None, "help": "weights of the encoder, unless its settings have them"},
    "--compute-threads": NUMBER
    | {
        "type": n_threads,
        "default": "2",
        "help": "threads of numeric work (default: $SPEECHPROMPT_COMPUTE_THREADS, else 2)",
    },
    "--device": {
        "choices": ("auto", "cpu", "cuda"),
        "default": "auto",
        "help": "default: $SPEECHPROMPT_DEVICE, else auto",
    },
}
# Verbs that may write the table that they read, of which they lose nothing.
IN_PLACE = {"split"}
# The rules of pre-trainings take their threads from here.
LM_THREADS = "SPEECHPROMPT_LM_THREADS"
# The pipeline sets some of them by the environment.
BY_ENVIRONMENT = {
    "--compute-threads": "SPEECHPROMPT_COMPUTE_THREADS",
    "--device": "SPEECHPROMPT_DEVICE",
}


class ExitStatus(int):
    """The exit status, as the result of a verb's function; without it the status is 0."""


class Verb:
    """A verb of the command line.

    Its name is that of its function. The types, defaults and help texts of its options are in the
    function's signature and docstring.

    Args:
        usage: the function as ``module:name`` below the package, and the arguments of the verb in
            order. ``name`` is positional, ``--name`` is an option and ``[--name]`` is a flag.
            ``--name=parameter`` gives the parameter another name. ``--settings`` is the parameter
            whose type is a type of the configuration. ``--name@module:TABLE`` takes one of the
            names in a table.
            ``parameter=module:name`` is no argument: another function makes the parameter. It is
            called with the values of the options, and with parameters that were made before.
        summary: one line of help.
        group: title that it stands under in the list of verbs.
    """

    def __init__(self, usage: str, summary: str, group: str) -> None:
        self.function, *words = usage.split()
        self.name = self.function.partition(":")[2].replace("_", "-")
        named = [word.partition("@") for word in words if ":" not in word or "@" in word]
        self.arguments = [word for word, _, _ in named]
        self.tables = {word: table for word, _, table in named if table}
        self.made = dict(word.split("=") for word in words if ":" in word and "@" not in word)
        self.summary, self.group = summary, group

    @property
    def functions(self) -> tuple[str, ...]:
        """All functions that the verb calls."""
        return (self.function, *self.made.values())

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Parameters of all functions by name; those of the verb's own function come first."""
        found: dict[str, Parameter] = {}
        for function in self.functions:
            found = read_parameters(function) | found
        return found

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options to argparse."""
        for word in self.arguments:
            option, _, name = word.strip("[]").partition("=")
            name = name or option.lstrip("-").replace("-", "_")
            if option == "--settings":
                (name,) = (key for key, value in self.parameters.items() if value.settings)
            about = SHARED.get(option) or _about(self.parameters[name], word.startswith("["))
            if word in self.tables:
                about |= {"choices": tuple(find(self.tables[word]))}
            if option == "--compute-threads" and LM_THREADS in os.environ:
                _check_variable(parser, LM_THREADS, os.environ[LM_THREADS], ())
            if (given := os.environ.get(BY_ENVIRONMENT.get(option, ""))) is not None:
                _check_variable(parser, BY_ENVIRONMENT[option], given, about.get("choices", ()))
                about = {**about, "default": given}
            if not option.startswith("-"):
                if "default" in about:  # argparse cannot suppress that of an optional position
                    about |= {"nargs": "*" if about.get("nargs") == "+" else "?", "default": None}
                about["help"] += f": {', '.join(about['choices'])}" if "choices" in about else ""
                parser.add_argument(name, **{**about, "metavar": option.upper()})
            else:
                parser.add_argument(option, dest=name, required="default" not in about, **about)

    def run(self, parsed: argparse.Namespace) -> int:
        """Call the function with the values of the options; return the exit status.

        Raises:
            ConfigError: the settings are wrong.
        """
        values = {name: value for name, value in vars(parsed).items() if value is not None}
        if (weights := values.pop("encoder_weights", None)) is not None:
            values["encoder"] = {**values["encoder"], "weights": str(weights)}
        for name, parameter in self.parameters.items():
            if parameter.settings and name in values:
                from speechprompt.config.values import block_from_value

                values[name] = block_from_value(values[name], find(parameter.settings))
        if "--device" in self.arguments:
            from speechprompt.runtime.device import set_compute_threads

            set_compute_threads(values["threads"])
            # An encoder that is no neural network is not worth an accelerator.
            useful = "encoder" not in self.made or "weights" in values["encoder"]
            values["device"] = take_device(values["device"]) if useful else "cpu"
        if self.name not in IN_PLACE:
            _refuse_input(values)
        for name, function in self.made.items():
            values[name] = _call(function, values)
        result = _call(self.function, values)
        return result if isinstance(result, ExitStatus) else 0


def _refuse_input(values: Mapping[str, Any]) -> None:
    """Refuse an output that is one of the inputs, which would be lost."""
    if not isinstance(out := values.get("out"), Path) or not out.exists():
        return
    for name, value in values.items():
        for path in value if isinstance(value, list | tuple) else [value]:
            if name != "out" and isinstance(path, Path) and path.exists() and path.samefile(out):
                raise ConfigError(f"--out: {out} is read by this command; choose another file")


def _check_variable(
    parser: argparse.ArgumentParser, name: str, given: str, choices: Sequence[str]
) -> None:
    """Check the value of a variable; a wrong one ends the program with the variable's name."""
    if choices and given not in choices:
        parser.error(f"{name}: expected {', '.join(choices)}, found {given!r}")
    if not choices:
        try:
            n_threads(given)
        except argparse.ArgumentTypeError as error:
            parser.error(f"{name}: {error}")


def _about(parameter: Parameter, is_flag: bool) -> dict[str, Any]:
    """Argparse's settings for a parameter; without the option, the function has its default."""
    about: dict[str, Any] = {"help": parameter.text.replace("%", "%%")}
    if parameter.default != REQUIRED:
        about["default"] = argparse.SUPPRESS
    if is_flag:
        return {**about, "action": "store_true"}
    if parameter.default not in (REQUIRED, "None", "()", "Path()"):  # what the text tells
        about["help"] += f" (default: {parameter.default})"
    if parameter.settings:
        form = "as in docs/configuration.md: YAML or JSON text, or a .yaml or .json file"
        return {**about, "metavar": "VALUE", "help": f"{parameter.text} ({form})"}
    if parameter.choices:
        return {**about, "choices": parameter.choices}
    return {**about, **TYPES.get(parameter.type, {"type": json.loads, "metavar": "JSON"})}


def find(name: str) -> Any:
    """Import what ``module:name`` names."""
    module, _, path = name.partition(":")
    found = import_module(f"speechprompt.{module}")
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _call(name: str, values: Mapping[str, Any]) -> Any:
    """Call a function with the values that its parameters name."""
    function = find(name)
    return function(**{key: values[key] for key in signature(function).parameters if key in values})


def take_device(name: str) -> str:
    """Choose the device, and claim one of the GPUs that the jobs of a local run share.

    Args:
        name: cpu, cuda or auto.

    Returns:
        ``cpu`` or ``cuda``.

    Raises:
        ConfigError: ``cuda`` is asked for on a machine without one.
    """
    from speechprompt.runtime.device import resolve_device

    slots = os.environ.get(SLOTS)
    if name == "cuda" and slots:
        os.environ["CUDA_VISIBLE_DEVICES"] = claim_gpu(slots.split(","))
    return resolve_device(name)


def boolean(text: str) -> bool:
    """Parse ``true`` or ``false``, in any case."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, found {text!r}")
    return text.lower() == "true"


# Argparse's settings by the type of a parameter; values of other types are JSON.
TYPES: dict[str, dict[str, Any]] = {
    "str": {},
    "int": NUMBER,
    "float": {"type": float, "metavar": "NUMBER"},
    "bool": {"type": boolean, "metavar": "true|false"},
    "Sequence[str]": {"nargs": "+", "metavar": "NAME"},
    "str | Path": PATH,
    "Path": PATH,
    "Sequence[str | Path]": {**PATH, "nargs": "+"},
    "Sequence[Path]": {**PATH, "nargs": "+"},
    "list[Path]": {**PATH, "action": "append"},  # an option that may be repeated
}
