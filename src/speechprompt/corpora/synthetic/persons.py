"""Voices that come from people: engines' voices times pitches and lengths of the vocal tract."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechprompt.audio.acoustics import move_formants, resize
from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.corpora.manifest import SPLITS
from speechprompt.corpora.synthetic.engines import ENGINES
from speechprompt.corpora.synthetic.voices import SHARES, Delivery
from speechprompt.errors import ConfigError

__all__ = ["PersonVoice", "assign_persons", "utter"]

# Factors by which pitch and formants differ from the engine's own voice.
PITCHES = (0.8, 1.0, 1.25, 1.55)
FORMANTS = (0.87, 1.0, 1.15)
RATE = 175  # words per minute of a delivery that leaves the engine's pace as it is
PITCH_STEPS = 200  # steps of a delivery's pitch in an octave


@dataclass(frozen=True, slots=True)
class PersonVoice:
    """A voice of an engine, with other pitch and formants.

    Attributes:
        engine: A key of ``ENGINES``.
        voice: A voice of the engine.
        pitch: Factor of the fundamental frequency.
        formants: Factor of the formants' frequencies, as of a shorter vocal tract.
    """

    engine: str
    voice: str
    pitch: float
    formants: float

    @property
    def accent(self) -> str:
        """The eSpeak NG accent whose plain voice says the same."""
        return "en-us"

    @property
    def name(self) -> str:
        """The speaker's name, without blanks."""
        return f"{self.engine}-{self.voice}+p{100 * self.pitch:.0f}f{100 * self.formants:.0f}"


def assign_persons(seed: int, engines: Sequence[str]) -> dict[str, list[PersonVoice]]:
    """Divide the engines' voices into those of train, valid and test.

    No person is in two splits. A person's split depends on the seed alone, not on the engines.

    Raises:
        ConfigError: a split would have no voices.
    """
    persons = sorted({person for engine in ENGINES.values() for person in engine.persons.values()})
    order = np.random.default_rng(seed).permutation(len(persons))
    edges = np.cumsum([round(SHARES[split] * len(persons)) for split in SPLITS[:2]])
    result = {}
    for split, chosen in zip(SPLITS, np.split(order, edges), strict=True):
        members = {persons[index] for index in chosen}
        result[split] = [
            PersonVoice(engine, voice, pitch, formants)
            for engine in engines
            for voice, person in ENGINES[engine].persons.items()
            if person in members
            for pitch in PITCHES
            for formants in FORMANTS
        ]
        if not result[split]:
            needed = sorted(n for n, e in ENGINES.items() if members & set(e.persons.values()))
            raise ConfigError(
                f"engines: expected a voice for {split}, found none in {', '.join(engines)} with "
                f"seed {seed}; add one of {', '.join(needed)}"
            )
    return result


def utter(text: str, voice: PersonVoice, delivery: Delivery) -> np.ndarray:
    """Say a text: float32 at 16 kHz, with silence around it.

    Raises:
        SpeechError: the engine is not installed, or fails.
    """
    pitch = voice.pitch * 2 ** ((delivery.pitch - 50) / PITCH_STEPS)
    # Played faster by the pitch's factor, the speech gets the length that the rate asks for.
    stretch = pitch * RATE / delivery.rate
    spoken, rate = ENGINES[voice.engine].say(text, voice.voice, stretch)
    played = resize(spoken, round(len(spoken) * SAMPLE_RATE / rate / pitch))
    return move_formants(played, voice.formants / pitch)
