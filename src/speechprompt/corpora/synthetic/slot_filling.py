"""Synthetic slot filling: requests in the form of SNIPS, with its names of intents and slot types.

No sentence is in two splits, and some slot values of valid and test do not occur in train.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count

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
    """The possible requests.

    Attributes:
        patterns: Intent -> patterns of sentences, with ``{slot}`` for a value.
        values: Split -> slot -> values.
    """

    patterns: Mapping[str, Sequence[str]]
    values: Mapping[str, Mapping[str, Sequence[str]]]


@cache
def requests() -> Requests:
    """Read the requests of the data file."""
    data = read_data(__file__)
    common = word_lists(data["values"])
    values = {}
    for split in SPLITS:
        own = word_lists(data["new_values"].get(split, {}))
        values[split] = {slot: (*found, *own.get(slot, ())) for slot, found in common.items()}
    return Requests(data["intents"], values)


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; the labels are ``text``, ``tags`` (IOB, one per word) and ``intent``.

    The intents are balanced. A larger split starts with the sentences of a smaller one.

    Args:
        seed: Seed of the voices' split, the sentences, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    intents = list(requests().patterns)

    def draw(split: str, size: int, generator: np.random.Generator) -> Iterator[dict[str, str]]:
        seen: set[str] = set()
        for index in range(size):
            intent = intents[index % len(intents)]
            request = _draw_request(generator, intent, seed, split, seen)
            seen.add(request["text"])
            yield request

    return plan_sentences(seed, STREAM, sizes, draw)


def _draw_request(
    generator: np.random.Generator, intent: str, seed: int, split: str, seen: set[str]
) -> dict[str, str]:
    """Draw a sentence of this split, a new one unless new ones have become rare."""
    for attempt in count():
        pattern = choose(generator, requests().patterns[intent])
        parts = fill(pattern, requests().values[split], generator)
        text = text_of(parts)
        if split_of(seed, text) == split and (text not in seen or attempt >= ATTEMPTS):
            break
    tags: list[str] = []
    for slot, value in parts:
        tags += [f"B-{slot}", *[f"I-{slot}"] * (len(value.split()) - 1)] if slot else ["O"]
    return {"text": text, "tags": " ".join(tags), "intent": intent}
