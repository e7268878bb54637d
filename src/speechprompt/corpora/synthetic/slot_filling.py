"""Synthetic slot filling: requests in the form of SNIPS, with intents and slot types of its names.

Sentences of valid and test never occur in train, and neither do some of their values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from speechprompt.corpora.manifest import SPLITS
from speechprompt.corpora.synthetic.grammar import (
    choose,
    fill,
    read_data,
    split_of,
    text_of,
    word_lists,
)
from speechprompt.corpora.synthetic.speech import plan_sentences
from speechprompt.corpora.synthetic.synthesis import Utterance

__all__ = ["Requests", "plan", "requests"]

STREAM = 3
ATTEMPTS = 100


@dataclass(frozen=True)
class Requests:
    """What may be asked for.

    Attributes:
        patterns: Intent -> what is said, with ``{slot}`` for a value.
        values: Split -> slot -> values.
    """

    patterns: Mapping[str, Sequence[str]]
    values: Mapping[str, Mapping[str, Sequence[str]]]


@cache
def requests() -> Requests:
    """The requests of the data file."""
    data = read_data(__file__)
    common = word_lists(data["values"])
    values = {}
    for split in SPLITS:
        own = word_lists(data["new_values"].get(split, {}))
        values[split] = {slot: (*found, *own.get(slot, ())) for slot, found in common.items()}
    return Requests(data["intents"], values)


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; labels ``text``, ``tags`` (IOB, one a word), ``intent``.

    The intents come evenly; the first sentences of a split stay the same if more are wanted.

    Args:
        seed: Seed of the voices' split, the sentences, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    intents = list(requests().patterns)
    rows = {}
    for number, split in enumerate(SPLITS):
        generator = np.random.default_rng((seed, STREAM, number))
        seen: set[str] = set()
        rows[split] = []
        for index in range(sizes[split]):
            intent = intents[index % len(intents)]
            request = _draw_request(generator, intent, seed, split, seen)
            seen.add(request["text"])
            rows[split].append(request)
    return list(plan_sentences(seed, STREAM, rows))


def _draw_request(
    generator: np.random.Generator, intent: str, seed: int, split: str, seen: set[str]
) -> dict[str, str]:
    """A sentence of this split, one not seen before unless such ones have become rare."""
    attempts = 0
    while True:
        pattern = choose(generator, requests().patterns[intent])
        parts = fill(pattern, requests().values[split], generator)
        text = text_of(parts)
        if split_of(seed, text) == split and (text not in seen or attempts >= ATTEMPTS):
            return {"text": text, "tags": _tags(parts), "intent": intent}
        attempts += 1


def _tags(parts: Sequence[tuple[str | None, str]]) -> str:
    tags: list[str] = []
    for slot, value in parts:
        if slot is None:
            tags.append("O")
        else:
            inside = len(value.split()) - 1
            tags += [f"B-{slot}", *[f"I-{slot}"] * inside]
    return " ".join(tags)
