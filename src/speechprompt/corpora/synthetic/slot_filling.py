"""Synthetic slot filling: requests in the form of SNIPS, with intents and slot types of its names.

Sentences of valid and test never occur in train, and neither do some of their values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from speechprompt.corpora.manifest import SPLITS
from speechprompt.corpora.synthetic.grammar import choose, fill, split_of, text_of
from speechprompt.corpora.synthetic.speech import plan_sentences
from speechprompt.corpora.synthetic.synthesis import Utterance

__all__ = ["INTENTS", "VALUES", "plan"]

STREAM = 3
ATTEMPTS = 100
# Intent -> what is said; `{slot}` stands for a value.
INTENTS = {
    "AddToPlaylist": (
        "add {track} to my {playlist} playlist",
        "add {artist} to my {playlist} playlist",
        "add this {music_item} to {playlist}",
        "add the {music_item} {track} to {playlist}",
        "put {artist} on my {playlist} list",
        "put {track} by {artist} on {playlist}",
    ),
    "BookRestaurant": (
        "book a table for {party_size_number} in {city}",
        "book a {restaurant_type} for {party_size_number} people",
        "book a {cuisine} {restaurant_type} in {city}",
        "find a {cuisine} {restaurant_type} {timeRange}",
        "i need a table for {party_size_number} {timeRange}",
        "reserve a {restaurant_type} in {city} {timeRange}",
    ),
    "GetWeather": (
        "what's the weather in {city}",
        "what's the weather in {city} {timeRange}",
        "will it be {condition_description} in {city}",
        "will it be {condition_description} {timeRange} in {city}",
        "is it {condition_description} in {city}",
        "tell me the {city} forecast {timeRange}",
    ),
    "PlayMusic": (
        "play {artist}",
        "play {track} by {artist}",
        "play {track} on {service}",
        "play some {genre} on {service}",
        "play {genre} by {artist}",
        "i want to hear {artist} on {service}",
    ),
    "RateBook": (
        "give {object_name} {rating_value} {rating_unit}",
        "give {object_name} {rating_value} out of {best_rating}",
        "rate {object_name} {rating_value} {rating_unit}",
        "rate this {object_type} {rating_value} {rating_unit}",
        "rate the {object_type} {object_name} {rating_value}",
        "i give this {object_type} {rating_value} out of {best_rating}",
    ),
    "SearchCreativeWork": (
        "find {object_name}",
        "find me the {object_type} {object_name}",
        "look for the {object_type} {object_name}",
        "search for {object_name}",
        "show me the {object_type} {object_name}",
        "where can i get the {object_type} {object_name}",
    ),
    "SearchScreeningEvent": (
        "when is {movie_name} playing",
        "when is {movie_name} at {location_name}",
        "is {movie_name} on at {location_name} {timeRange}",
        "what's on at {location_name} {timeRange}",
        "find films at {location_name}",
        "show times for {movie_name} {timeRange}",
    ),
}
# Slot -> values of every split.
COMMON_VALUES = {
    "artist": (
        *("anna stone", "johnny west", "miles green", "rosa martin", "the blue birds"),
        *("the river band", "tom baker", "black velvet", "sister moon", "eddie fox"),
        *("the paper kings", "clara day", "nina brown", "the holy ghosts", "oscar wells"),
        *("grace jordan", "big little town", "victor hall"),
    ),
    "best_rating": ("five", "six", "ten"),
    "city": (
        *("berlin", "boston", "chicago", "dallas", "denver", "houston", "london", "madrid"),
        *("new york", "oslo", "paris", "rome", "san diego", "seattle"),
    ),
    "condition_description": ("cloudy", "cold", "foggy", "rainy", "stormy", "sunny", "windy"),
    "cuisine": ("chinese", "french", "greek", "mexican", "russian", "spanish", "thai", "turkish"),
    "genre": ("blues", "country", "folk", "jazz", "metal", "pop", "rock", "soul"),
    "location_name": (
        *("the grand cinema", "the star theatre", "the plaza", "the old mill", "city hall"),
        *("the royal", "harbor house"),
    ),
    "movie_name": (
        *("the last train", "winter king", "lost in july", "a quiet man", "red river"),
        *("the long way home", "seven doors", "night flight", "the golden bird"),
        *("my brother's farm", "cold harvest", "the painter", "love and sugar"),
    ),
    "music_item": ("album", "song", "track", "tune"),
    "object_name": (
        *("the silent garden", "river of stars", "stone and sky", "the glass tower"),
        *("a letter to maria", "the clock maker", "under the bridge", "north wind"),
        *("the hidden door", "summer rain", "the king's daughter", "seven sisters"),
        *("a house in the sun", "the black ship", "broken mirror", "wild honey"),
    ),
    "object_type": ("book", "game", "novel", "saga", "show", "story"),
    "party_size_number": ("two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "playlist": (
        *("morning coffee", "road trip", "summer party", "rainy days", "deep focus"),
        *("sunday evening", "kitchen dance", "old gold", "sleep well", "piano dreams"),
        *("fresh air", "workout", "weekend"),
    ),
    "rating_unit": ("points", "stars"),
    "rating_value": ("zero", "two", "three", "four", "five"),
    "restaurant_type": ("bar", "bistro", "cafe", "diner", "pub", "restaurant"),
    "service": ("deezer", "pandora", "spotify", "youtube"),
    "timeRange": (
        *("at noon", "next week", "on friday", "on sunday", "this evening", "this weekend"),
        *("today", "tomorrow", "tonight"),
    ),
    "track": (
        *("golden summer", "dancing alone", "silver moon", "take me home", "one more night"),
        *("the long road", "blue eyes", "hold my hand", "paper planes", "lost and found"),
        *("over the hills", "sweet honey", "never again", "dear father", "into the sea"),
    ),
}
# Split -> slot -> values of that split alone.
NEW_VALUES = {
    "train": {},
    "valid": {
        "artist": ("peter lake", "the night owls"),
        "city": ("portland", "vienna"),
        "cuisine": ("polish",),
        "movie_name": ("the green island",),
        "object_name": ("a winter story",),
        "playlist": ("happy hour",),
        "track": ("open windows",),
    },
    "test": {
        "artist": ("laura hill", "the silver foxes", "robin park"),
        "city": ("austin", "dublin", "lisbon", "tokyo"),
        "cuisine": ("japanese", "korean"),
        "movie_name": ("the white horse", "dark water"),
        "object_name": ("the lonely island", "city of sand"),
        "playlist": ("dinner time", "long run"),
        "timeRange": ("next month", "on monday"),
        "track": ("after the rain", "yellow bird"),
    },
}
VALUES = {
    split: {
        slot: (*common, *NEW_VALUES[split].get(slot, ())) for slot, common in COMMON_VALUES.items()
    }
    for split in SPLITS
}


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; labels ``text``, ``tags`` (IOB, one a word), ``intent``.

    The intents come evenly; the first sentences of a split stay the same if more are wanted.

    Args:
        seed: Seed of the voices' split, the sentences, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    intents = list(INTENTS)
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
        parts = fill(choose(generator, INTENTS[intent]), VALUES[split], generator)
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
