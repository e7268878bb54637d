"""Sentences that are drawn from patterns, and the split that each belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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
    def of(cls, module_file: str) -> Self:
        """Read the grammar in the data file of a task's module."""
        data = read_data(module_file)
        return cls(tuple(data["patterns"]), word_lists(data["words"]))

    def draw(self, generator: np.random.Generator) -> str:
        """Draw a sentence, in upper case."""
        return text_of(fill(choose(generator, self.patterns), self.words, generator))


def read_data(module_file: str | Path) -> dict[str, Any]:
    """Read the YAML data file of a task's module."""
    return yaml.safe_load(data_file(module_file, ".yaml").read_text(encoding="utf-8"))


def word_lists(lists: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Split the texts of each slot into its words or phrases, which commas separate."""
    return {
        slot: tuple(word.strip() for word in text.split(",") if word.strip())
        for slot, text in lists.items()
    }


def choose(generator: np.random.Generator, items: Sequence[str]) -> str:
    """Draw one of the items, all equally likely."""
    return items[int(generator.integers(len(items)))]


def fill(
    pattern: str, values: Mapping[str, Sequence[str]], generator: np.random.Generator
) -> list[tuple[str | None, str]]:
    """Draw a value for every ``{slot}`` of a pattern.

    Args:
        pattern: Words and slots, separated by blanks.
        values: Slot -> its values, of one or more words.
        generator: Source of randomness.

    Returns:
        The parts of the sentence: a slot and its value, or None and a word.
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
    """The sentence that :func:`fill` drew, in upper case with single blanks."""
    return " ".join(value for _, value in parts).upper()


def split_of(seed: int, text: str) -> str:
    """The only split that may have a text; its hash decides, so that sizes do not matter."""
    share = share_of(f"{seed}/{text}")
    for split, size in SHARES.items():
        if share < size:
            return split
        share -= size
    return "test"
