"""Synthetic transcription: short sentences from a small grammar over some hundred words.

No sentence occurs twice, in one split or in two; all words occur in all splits.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from speechprompt.corpora.manifest import SPLITS
from speechprompt.corpora.synthetic.grammar import choose, fill, split_of, text_of
from speechprompt.corpora.synthetic.speech import plan_sentences
from speechprompt.corpora.synthetic.synthesis import Utterance

__all__ = ["PATTERNS", "WORDS", "plan"]

STREAM = 2
PATTERNS = (
    "{name} {did}",
    "{name} {did} {when}",
    "{name} {made} {the} {thing}",
    "{name} {did} {by} {the} {place}",
    "{the} {person} {did} {by} {the} {place}",
    "{the} {quality} {person} {did}",
    "{the} {person} {made} {the} {thing}",
    "{the} {person} {made} {the} {quality} {thing}",
    "{the} {thing} was {quality}",
    "{the} {place} was {quality} {when}",
    "{number} {plural} {did}",
    "{number} {plural} {did} {by} {the} {place}",
    "{make} {the} {thing} {when}",
    "{make} {the} {quality} {thing}",
    "{can} {they} {make} {the} {thing}",
    "{they} {cannot} {make} {the} {thing}",
    "{they} {made} {the} {thing} {when}",
)
WORDS = {
    "the": ("the", "a", "my", "your", "his", "her", "our", "their", "this", "that"),
    "name": (
        *("ben", "clara", "david", "emma", "frank", "grace", "henry", "jack", "kate", "leo"),
        *("maria", "nina", "oscar", "paul", "rosa", "sam", "tina", "victor"),
    ),
    "they": ("i", "you", "we", "they"),
    "person": (
        *("baby", "baker", "bird", "boy", "brother", "cat", "doctor", "dog", "driver", "farmer"),
        *("father", "friend", "girl", "horse", "king", "mother", "painter", "queen", "sailor"),
        *("sister", "student", "teacher"),
    ),
    "plural": (
        *("birds", "boys", "cats", "dogs", "doctors", "farmers", "friends", "girls", "horses"),
        *("players", "sailors", "students", "teachers", "workers"),
    ),
    "thing": (
        *("ball", "basket", "boat", "book", "bottle", "bread", "cake", "car", "chair", "clock"),
        *("coat", "coffee", "coin", "cup", "dinner", "door", "flower", "hat", "key", "lamp"),
        *("letter", "map", "paper", "phone", "picture", "radio", "ring", "shoe", "song", "soup"),
        *("stone", "story", "table", "ticket", "water", "window"),
    ),
    "place": (
        *(
            "beach",
            "bridge",
            "castle",
            "church",
            "farm",
            "field",
            "forest",
            "garden",
            "harbor",
            "hotel",
        ),
        *("house", "kitchen", "lake", "market", "mountain", "museum", "park", "river"),
        *("school", "shop", "station", "street", "tower", "village"),
    ),
    "quality": (
        *("bad", "big", "black", "blue", "brown", "cheap", "clean", "cold", "dark", "famous"),
        *("good", "green", "happy", "heavy", "little", "lonely", "long", "lucky", "new", "quiet"),
        *("red", "rich", "short", "silver", "small", "strange", "strong", "tall", "warm", "white"),
        *("young", "yellow"),
    ),
    "did": (
        *("arrived", "cried", "danced", "fell", "jumped", "laughed", "left", "played", "ran"),
        *("rested", "sang", "sat", "slept", "smiled", "spoke", "stayed", "stood", "stopped"),
        *("swam", "talked", "waited", "walked", "worked"),
    ),
    "made": (
        *("bought", "broke", "brought", "carried", "dropped", "forgot", "found", "gave", "held"),
        *("kept", "liked", "lost", "made", "moved", "needed", "painted", "saw", "sold", "stole"),
        *("took", "touched", "wanted", "watched"),
    ),
    "make": (
        *("break", "bring", "buy", "carry", "drop", "find", "forget", "get", "hold", "keep"),
        *("leave", "like", "lose", "make", "move", "paint", "see", "sell", "take", "touch"),
        *("want", "watch"),
    ),
    "can": ("can", "could", "did", "may", "must", "should", "will", "would"),
    "cannot": ("can't", "couldn't", "didn't", "don't", "never", "won't", "wouldn't"),
    "by": ("at", "behind", "by", "from", "in", "inside", "near", "outside"),
    "when": (
        *("again", "alone", "early", "every day", "last night", "late", "now", "on monday"),
        *("on sunday", "once", "slowly", "this morning", "today", "tonight", "too", "yesterday"),
    ),
    "number": ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "many"),
}


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; label ``text``, 2 to 6 words in upper case.

    The first sentences of a split stay the same if more are wanted.

    Args:
        seed: Seed of the voices' split, the sentences, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    rows = {}
    for number, split in enumerate(SPLITS):
        generator = np.random.default_rng((seed, STREAM, number))
        texts: dict[str, None] = {}
        while len(texts) < sizes[split]:
            text = text_of(fill(choose(generator, PATTERNS), WORDS, generator))
            if split_of(seed, text) == split:
                texts[text] = None
        rows[split] = [{"text": text} for text in texts]
    return list(plan_sentences(seed, STREAM, rows))
