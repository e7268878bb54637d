"""Synthetic intent classification: the label space of Fluent Speech Commands.

Six actions, fourteen objects and four locations in their 31 valid triples
(https://arxiv.org/abs/1904.03670, table 1). Every triple has several wordings; valid and test have
some of their own that train never has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from speechprompt.corpora.manifest import SPLITS
from speechprompt.corpora.synthetic.grammar import choose
from speechprompt.corpora.synthetic.speech import plan_sentences
from speechprompt.corpora.synthetic.synthesis import Utterance

__all__ = ["INTENTS", "LOCATIONS", "plan", "wordings"]

STREAM = 1
NONE = "none"
# Location -> what it is called.
LOCATIONS = {
    NONE: (),
    "kitchen": ("kitchen",),
    "bedroom": ("bedroom",),
    "washroom": ("washroom", "bathroom"),
}


class _Wordings(NamedTuple):
    """Ways to say something: in all splits, in valid besides, in test besides.

    ``{thing}`` and ``{way}`` stand for what tells apart the intents that share the wordings,
    ``{room}`` for where a room can be named before the noun; "in the kitchen" can end all of them.
    """

    common: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]


_SWITCH = _Wordings(
    common=(
        "turn {way} the {thing}",
        "turn the {thing} {way}",
        "switch {way} the {thing}",
        "switch the {thing} {way}",
        "please turn {way} the {thing}",
        "{thing} {way}",
    ),
    valid=("get the {thing} {way}",),
    test=("i want the {thing} {way}", "could you switch {way} the {thing}"),
)
_PLAY = _Wordings(
    common=(
        "play the music",
        "play some music",
        "start the music",
        "turn on the music",
        "put on some music",
        "put the music on",
    ),
    valid=("let's have some music",),
    test=("i want to hear music", "resume the music"),
)
_STOP = _Wordings(
    common=(
        "stop the music",
        "pause the music",
        "turn off the music",
        "turn the music off",
        "stop playing music",
        "music off",
    ),
    valid=("no more music",),
    test=("shut off the music", "please end the music"),
)
_LOUDER = _Wordings(
    common=(
        "turn up the volume",
        "turn the volume up",
        "increase the volume",
        "volume up",
        "make it louder",
        "louder please",
    ),
    valid=("it is too quiet",),
    test=("raise the volume", "i can't hear it"),
)
_QUIETER = _Wordings(
    common=(
        "turn down the volume",
        "turn the volume down",
        "decrease the volume",
        "volume down",
        "make it quieter",
        "quieter please",
    ),
    valid=("it is too loud",),
    test=("lower the volume", "make it less loud"),
)
_WARMER = _Wordings(
    common=(
        "turn up the {room} heat",
        "turn the {room} heat up",
        "increase the {room} heat",
        "turn up the {room} temperature",
        "increase the {room} temperature",
        "make it warmer",
    ),
    valid=("make it hotter",),
    test=("raise the {room} temperature", "it is too cold"),
)
_COOLER = _Wordings(
    common=(
        "turn down the {room} heat",
        "turn the {room} heat down",
        "decrease the {room} heat",
        "turn down the {room} temperature",
        "decrease the {room} temperature",
        "make it cooler",
    ),
    valid=("make it colder",),
    test=("lower the {room} temperature", "it is too hot"),
)
_BRING = _Wordings(
    common=(
        "bring me {thing}",
        "bring {thing} here",
        "get me {thing}",
        "fetch {thing}",
        "go and get {thing}",
        "i need {thing}",
    ),
    valid=("hand me {thing}",),
    test=("give me {thing}", "could you find {thing}"),
)
_SPEAK = _Wordings(
    common=(
        "change the language to {thing}",
        "switch the language to {thing}",
        "set the language to {thing}",
        "switch to {thing}",
        "use {thing}",
        "i want to speak {thing}",
    ),
    valid=("set my phone to {thing}",),
    test=("talk to me in {thing}", "i would like {thing} please"),
)
_OTHER_LANGUAGE = _Wordings(
    common=(
        "change the language",
        "change language",
        "switch the language",
        "switch languages",
        "set the language",
        "use another language",
    ),
    valid=("choose a new language",),
    test=("open the language settings", "i want a different language"),
)


class _Command(NamedTuple):
    action: str
    object: str
    wordings: _Wordings
    thing: str = ""
    way: str = ""
    in_rooms: bool = False


_COMMANDS = (
    _Command("activate", "lamp", _SWITCH, "lamp", "on"),
    _Command("activate", "lights", _SWITCH, "{room} lights", "on", in_rooms=True),
    _Command("activate", "music", _PLAY),
    _Command("deactivate", "lamp", _SWITCH, "lamp", "off"),
    _Command("deactivate", "lights", _SWITCH, "{room} lights", "off", in_rooms=True),
    _Command("deactivate", "music", _STOP),
    _Command("increase", "volume", _LOUDER),
    _Command("increase", "heat", _WARMER, in_rooms=True),
    _Command("decrease", "volume", _QUIETER),
    _Command("decrease", "heat", _COOLER, in_rooms=True),
    _Command("bring", "newspaper", _BRING, "the newspaper"),
    _Command("bring", "juice", _BRING, "some juice"),
    _Command("bring", "socks", _BRING, "my socks"),
    _Command("bring", "shoes", _BRING, "my shoes"),
    _Command("change language", NONE, _OTHER_LANGUAGE),
    _Command("change language", "Chinese", _SPEAK, "chinese"),
    _Command("change language", "English", _SPEAK, "english"),
    _Command("change language", "German", _SPEAK, "german"),
    _Command("change language", "Korean", _SPEAK, "korean"),
)

# The 31 (action, object, location).
INTENTS = tuple(
    (command.action, command.object, location)
    for command in _COMMANDS
    for location in (LOCATIONS if command.in_rooms else (NONE,))
)


def wordings(action: str, object_: str, location: str, split: str) -> tuple[str, ...]:
    """All that may be said in a split for an intent: upper case, at most 8 words."""
    command = next(c for c in _COMMANDS if (c.action, c.object) == (action, object_))
    own = getattr(command.wordings, split, ())
    found = []
    for wording in (*command.wordings.common, *own):
        pattern = wording.replace("{thing}", command.thing).replace("{way}", command.way)
        for room in LOCATIONS[location]:
            if "{room}" in pattern:
                found.append(pattern.format(room=room))
            found.append(f"{pattern.format(room='')} in the {room}")
        if location == NONE:
            found.append(pattern.format(room=""))
    return tuple(dict.fromkeys(" ".join(text.upper().split()) for text in found))


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; labels ``action``, ``object``, ``location``, ``text``.

    Nothing is drawn for one utterance that depends on another's, and the intents come evenly.

    Args:
        seed: Seed of the voices' split, the wordings, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    rows: dict[str, list[dict[str, str]]] = {split: [] for split in SPLITS}
    for number, split in enumerate(SPLITS):
        choices = [wordings(*intent, split) for intent in INTENTS]
        for index in range(sizes[split]):
            generator = np.random.default_rng((seed, STREAM, number, index, 2))
            action, object_, location = INTENTS[index % len(INTENTS)]
            text = choose(generator, choices[index % len(INTENTS)])
            labels = {"action": action, "object": object_, "location": location, "text": text}
            rows[split].append(labels)
    return list(plan_sentences(seed, STREAM, rows))
