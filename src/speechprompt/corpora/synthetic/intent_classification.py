"""Synthetic intent classification with the labels of Fluent Speech Commands.

There are six actions, fourteen objects and four locations in 31 valid triples
(https://arxiv.org/abs/1904.03670, table 1). Every triple has several wordings; valid and test have
some that train does not have.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speechprompt.corpora.manifest import SPLITS
from speechprompt.corpora.synthetic.grammar import choose, read_data, word_lists
from speechprompt.corpora.synthetic.speech import plan_sentences
from speechprompt.corpora.synthetic.synthesis import Utterance

__all__ = ["Command", "Commands", "plan", "read_commands"]

STREAM = 1
NONE = "none"


@dataclass(frozen=True)
class Command:
    """An action on an object, possibly in a room.

    Attributes:
        action: The action, such as ``activate``.
        object: The object, such as ``lights``.
        common: Wordings of all splits, in which ``{room}`` stands for the name of a room.
        own: Split -> further wordings, which only that split has.
        in_rooms: Whether a room may be named.
    """

    action: str
    object: str
    common: Sequence[str]
    own: Mapping[str, Sequence[str]]
    in_rooms: bool


@dataclass(frozen=True)
class Commands:
    """The commands, and the names of each location."""

    commands: Sequence[Command]
    locations: Mapping[str, Sequence[str]]

    @property
    def intents(self) -> list[tuple[str, str, str]]:
        """The 31 triples of action, object and location."""
        return [
            (command.action, command.object, location)
            for command in self.commands
            for location in (self.locations if command.in_rooms else (NONE,))
        ]

    def wordings(self, action: str, object_: str, location: str, split: str) -> tuple[str, ...]:
        """All wordings of an intent in a split: upper case, at most 8 words."""
        command = next(c for c in self.commands if (c.action, c.object) == (action, object_))
        found = []
        for pattern in (*command.common, *command.own.get(split, ())):
            for room in self.locations[location]:
                if "{room}" in pattern:
                    found.append(pattern.format(room=room))
                found.append(f"{pattern.format(room='')} in the {room}")
            if location == NONE:
                found.append(pattern.format(room=""))
        return tuple(dict.fromkeys(" ".join(text.upper().split()) for text in found))


def read_commands() -> Commands:
    """Read the commands of the data file."""
    data = read_data(__file__)
    commands = []
    for entry in data["commands"]:
        thing, way = entry.get("thing", ""), entry.get("way", "")
        said = {
            split: [text.replace("{thing}", thing).replace("{way}", way) for text in texts]
            for split, texts in data["wordings"][entry["wordings"]].items()
        }
        common, in_rooms = said.pop("common"), entry.get("in_rooms", False)
        commands.append(Command(entry["action"], entry["object"], common, said, in_rooms))
    return Commands(commands, word_lists(data["locations"]))


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; the labels are ``action``, ``object``, ``location`` and ``text``.

    Every utterance has draws of its own. The intents are balanced.

    Args:
        seed: Seed of the voices' split, the wordings, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    commands = read_commands()
    intents = commands.intents

    def draw(split: str, size: int, _: np.random.Generator) -> Iterator[dict[str, str]]:
        choices = [commands.wordings(*intent, split) for intent in intents]
        for index in range(size):
            generator = np.random.default_rng((seed, STREAM, SPLITS.index(split), index, 2))
            action, object_, location = intents[index % len(intents)]
            text = choose(generator, choices[index % len(intents)])
            yield {"action": action, "object": object_, "location": location, "text": text}

    return plan_sentences(seed, STREAM, sizes, draw)
