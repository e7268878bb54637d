"""Synthetic keyword spotting: the twelve classes of Speech Commands.

Built like the KS task of SUPERB: about one second, ten keywords, any other word as ``_unknown_``,
noise alone as ``_silence_``. Part of the other words of valid and test are never heard in train.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from speechprompt.audio.acoustics import scale_to
from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.corpora.synthetic.espeak import Speaker
from speechprompt.corpora.synthetic.phones import SILENCE as SILENT_PHONE
from speechprompt.corpora.synthetic.phones import Alignment
from speechprompt.corpora.synthetic.speech import background, record, say, tilt, voices_of
from speechprompt.corpora.synthetic.synthesis import Utterance
from speechprompt.corpora.synthetic.voices import Delivery, Voice

__all__ = ["CLASSES", "KEYWORDS", "UNKNOWN_WORDS", "plan"]

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
CLASSES = (*KEYWORDS, UNKNOWN, SILENCE)

# The other words of Speech Commands v0.01, then others as short.
COMMON_WORDS = (
    *("bed", "bird", "cat", "dog", "eight", "five", "four", "happy", "house", "marvin", "nine"),
    *("one", "seven", "sheila", "six", "three", "tree", "two", "wow", "zero"),
    *("again", "apple", "backward", "book", "call", "close", "cold", "door", "follow", "forward"),
    *("green", "hello", "help", "home", "kitchen", "lamp", "learn", "light", "music", "open"),
    *("paper", "play", "quick", "radio", "river", "summer", "table", "visual", "water", "window"),
)
NEW_WORDS = {
    "valid": ("bread", "circle", "dinner", "engine", "garden", "north", "silver", "teacher"),
    "test": (
        *("answer", "bottle", "chair", "doctor", "flower", "ghost", "hotel", "island", "letter"),
        *("mountain", "orange", "pencil", "sugar", "travel", "winter", "yellow"),
    ),
}
UNKNOWN_WORDS = {
    "train": COMMON_WORDS,
    "valid": COMMON_WORDS + NEW_WORDS["valid"],
    "test": COMMON_WORDS + NEW_WORDS["test"],
}

N_SAMPLES = SAMPLE_RATE
SILENCE_LEVEL_DB = (-60.0, -24.0)


@dataclass(frozen=True, slots=True)
class _Keyword(Utterance):
    """A word (None: silence) in a voice; ``seed`` draws its delivery and its surroundings."""

    word: str | None
    voice: Voice
    seed: tuple[int, ...]

    def render(self, speaker: Speaker) -> tuple[np.ndarray, Alignment]:
        """One second of a word in noise, or of noise, float32 at 16 kHz; its phones."""
        generator = np.random.default_rng(self.seed)
        noise = background(generator, N_SAMPLES)
        seconds = N_SAMPLES / SAMPLE_RATE
        if self.word is None:
            quiet = scale_to(noise, generator.uniform(*SILENCE_LEVEL_DB))
            return quiet, Alignment((SILENT_PHONE,), (0.0,), seconds)
        spoken, phones = say(speaker, self.word, self.voice, Delivery.draw(generator))
        word = tilt(generator, spoken[:N_SAMPLES])
        start = int(generator.integers(N_SAMPLES - len(word) + 1))
        padded = np.pad(word, (start, N_SAMPLES - start - len(word)))
        recorded = record(generator, padded, noise, slice(start, start + len(word)))
        return recorded, phones.place(start / SAMPLE_RATE, seconds)


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; label ``label``, the classes evenly.

    Nothing is drawn for one utterance that depends on another's.

    Args:
        seed: Seed of the voices' split, the words, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    voices = voices_of(seed)
    result: list[Utterance] = []
    for number, split in enumerate(SPLITS):
        for index in range(sizes[split]):
            label = CLASSES[index % len(CLASSES)]
            generator = np.random.default_rng((seed, number, index, 0))
            voice = voices[split][generator.integers(len(voices[split]))]
            others = UNKNOWN_WORDS[split]
            other = others[generator.integers(len(others))]
            word = {UNKNOWN: other, SILENCE: None}.get(label, label)
            speaker = None if word is None else voice.name
            path = f"{split}/{label}/{speaker or 'noise'}-{index:05d}.wav"
            recording = Recording(path, split, {"label": label}, speaker)
            result.append(_Keyword(recording, word, voice, (seed, number, index, 1)))
    return result
