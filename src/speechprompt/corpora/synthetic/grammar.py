"""Sentences from templates, and the split that each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from speechprompt.storage.hashes import share_of

__all__ = ["choose", "fill", "split_of", "text_of"]

SHARES = {"train": 0.8, "valid": 0.1}


def choose(generator: np.random.Generator, items: Sequence[str]) -> str:
    """One of the items, all equally likely."""
    return items[int(generator.integers(len(items)))]


def fill(
    template: str, values: Mapping[str, Sequence[str]], generator: np.random.Generator
) -> list[tuple[str | None, str]]:
    """Draw a value for every ``{slot}`` of a template.

    Args:
        template: Words and slots between blanks.
        values: Slot -> its values, of one or more words.
        generator: Source of randomness.

    Returns:
        The sentence in parts, each a slot and its value, or None and a word.
    """
    parts: list[tuple[str | None, str]] = []
    for word in template.split():
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
