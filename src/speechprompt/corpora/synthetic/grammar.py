"""Sentences from patterns, and the split that each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from speechprompt.storage.hashes import share_of
from speechprompt.storage.package_data import data_file

__all__ = ["Grammar", "choose", "fill", "read_data", "split_of", "text_of", "word_lists"]

SHARES = {"train": 0.8, "valid": 0.1}


@dataclass(frozen=True)
class Grammar:
    """Sentences as patterns of words and ``{slot}``, and the words of each slot."""

    patterns: Sequence[str]
    words: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, module_file: str) -> Grammar:
        """The grammar in the data file of a task's module."""
        data = read_data(module_file)
        return cls(tuple(data["patterns"]), word_lists(data["words"]))

    def draw(self, generator: np.random.Generator) -> str:
        """A sentence, in upper case."""
        return text_of(fill(choose(generator, self.patterns), self.words, generator))


def read_data(module_file: str | Path) -> dict[str, Any]:
    """What is said in a task: the YAML data file of its module."""
    return yaml.safe_load(data_file(module_file, ".yaml").read_text(encoding="utf-8"))


def word_lists(lists: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The words or phrases of each slot; a data file has them between commas."""
    return {
        slot: tuple(word.strip() for word in text.split(",") if word.strip())
        for slot, text in lists.items()
    }


def choose(generator: np.random.Generator, items: Sequence[str]) -> str:
    """One of the items, all equally likely."""
    return items[int(generator.integers(len(items)))]


def fill(
    pattern: str, values: Mapping[str, Sequence[str]], generator: np.random.Generator
) -> list[tuple[str | None, str]]:
    """Draw a value for every ``{slot}`` of a pattern.

    Args:
        pattern: Words and slots between blanks.
        values: Slot -> its values, of one or more words.
        generator: Source of randomness.

    Returns:
        The sentence in parts, each a slot and its value, or None and a word.
    """
    parts: list[tuple[str | None, str]] = []
    for word in pattern.split():
        if word.startswith("{"):
            slot = word.strip("{}")
            parts.append((slot, choose(generator, values[slot])))
        else:
            parts.append((None, word))
    return parts


def text_of(parts: Sequence[tuple[str | None, str]]) -> str:
    """What :func:`fill` drew, in upper case with single blanks."""
    return " ".join(value for _, value in parts).upper()


def split_of(seed: int, text: str) -> str:
    """The only split that a text may stand in: a hash decides, so that sizes do not matter."""
    share = share_of(f"{seed}/{text}")
    for split, size in SHARES.items():
        if share < size:
            return split
        share -= size
    return "test"
