"""Where files are: patterns as the rules have them, and what a wildcard may match."""

import hashlib
import os
import re
import shlex
from collections.abc import Iterable
from typing import Any

__all__ = [
    "CODEBOOK",
    "FEATURES",
    "MANIFEST",
    "PART",
    "REPLACED",
    "SEED",
    "UNITS",
    "UNIT_LM",
    "Wildcards",
    "fingerprint_of",
    "one_of",
    "operand",
    "options",
    "part_files",
]

# Snakemake's wildcards, or whatever has the names of a rule's wildcards as attributes.
Wildcards = Any

MANIFEST = "results/manifests/{corpus}/{split}.parquet"
FEATURES = "results/features/{encoder}/{corpus}/{split}"
UNITS = "results/units/{codebook}/{corpus}/{split}"
PART = "part-{part}-of-{parts}.parquet"
CODEBOOK = "results/codebooks/{codebook}.safetensors"
UNIT_LM = "results/lm/{lm}/model.safetensors"
SEED = "results/{task}/{method}/seed-{seed}"

# What Snakemake replaces in a path: its wildcards and its variables.
REPLACED = re.compile(r"\{\s*\w+\s*[,}]|<[a-z][a-z0-9_]*>")


def one_of(names: Iterable[str]) -> str:
    """A wildcard's constraint that matches these names only; nothing, where there are none."""
    return "|".join(sorted(names)) or "(?!)"


def operand(path: str) -> str:
    """A path of the user's as a positional argument; one such as -x would be read as an option."""
    return f"./{path}" if path.startswith("-") else path


def part_files(folder: str, count: int) -> list[str]:
    """The parts of a split, in order."""
    return [f"{folder}/part-{part:05d}-of-{count:05d}.parquet" for part in range(count)]


def options(**values: Any) -> str:
    """Options of a verb, quoted for the shell; those without a value are left out."""
    words: list[str] = []
    for name, value in values.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value or (value == 0 and value is not False):
            # A value such as -x would be read as an option of its own.
            joined = str(value).startswith("-")
            words += [f"{option}={value}"] if joined else [option, str(value)]
    return shlex.join(words)


def fingerprint_of(paths: Iterable[str]) -> str:
    """A hash of the sizes and times of files; those that are not here are left out of it."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            continue  # the job that reads it says what is wrong with it
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()
