"""Synthetic keyword spotting with the twelve classes of Speech Commands, or with other keywords.

As in the KS task of SUPERB, recordings last one second and hold one of the keywords, another word
(``_unknown_``) or noise alone (``_silence_``). Some other words of valid and test do not occur in
train.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from speechprompt.audio.acoustics import scale_to
from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.corpora.published.speech_commands import CLASSES
from speechprompt.corpora.synthetic.espeak import Speaker
from speechprompt.corpora.synthetic.grammar import read_data, word_lists
from speechprompt.corpora.synthetic.persons import PersonVoice
from speechprompt.corpora.synthetic.phones import SILENCE as SILENT_PHONE
from speechprompt.corpora.synthetic.phones import Alignment
from speechprompt.corpora.synthetic.speech import background, record, say, tilt
from speechprompt.corpora.synthetic.synthesis import Utterance
from speechprompt.corpora.synthetic.voices import Delivery, Voice, assign_voices
from speechprompt.errors import ConfigError

__all__ = ["KEYWORDS", "SpokenWord", "plan", "unknown_words"]

*KEYWORDS, UNKNOWN, SILENCE = CLASSES
N_SAMPLES = SAMPLE_RATE
SILENCE_LEVEL_DB = (-60.0, -24.0)


@dataclass(frozen=True, slots=True)
class SpokenWord(Utterance):
    """A word in a voice; None is silence. ``seed`` decides the delivery and the noise."""

    word: str | None
    voice: Voice | PersonVoice
    seed: tuple[int, ...]

    def render(self, speaker: Speaker) -> tuple[np.ndarray, Alignment]:
        """One second of noise with or without a word, float32 at 16 kHz; and its phones."""
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


@cache
def unknown_words() -> dict[str, tuple[str, ...]]:
    """Read the words of the class ``_unknown_`` in each split."""
    words = word_lists(read_data(__file__)["unknown_words"])
    common = words.pop("train")
    return {"train": common} | {split: common + own for split, own in words.items()}


def plan(
    seed: int, sizes: Mapping[str, int], keywords: Sequence[str] = KEYWORDS
) -> list[Utterance]:
    """Decide who says what; the label is ``label``, with balanced classes.

    Every utterance has draws of its own.

    Args:
        seed: Seed of the voices' split, the words, deliveries and noises.
        sizes: Split -> number of utterances.
        keywords: The words that are classes of their own.

    Raises:
        ConfigError: no other word is left for ``_unknown_``.
    """
    voices = assign_voices(seed)
    classes = (*keywords, UNKNOWN, SILENCE)
    words = {word.lower() for word in keywords}
    unknown = {
        split: [word for word in others if word not in words]
        for split, others in unknown_words().items()
    }
    if not unknown["train"]:
        raise ConfigError(
            f"keywords: expected some of {', '.join(unknown_words()['train'])} to be left for "
            f"{UNKNOWN}, found all of them"
        )
    result: list[Utterance] = []
    for number, split in enumerate(SPLITS):
        for index in range(sizes[split]):
            label = classes[index % len(classes)]
            generator = np.random.default_rng((seed, number, index, 0))
            voice = voices[split][generator.integers(len(voices[split]))]
            others = unknown[split]
            other = others[generator.integers(len(others))]
            word = {UNKNOWN: other, SILENCE: None}.get(label, label)
            speaker = None if word is None else voice.name
            folder = label.replace(" ", "_")
            path = f"{split}/{folder}/{speaker or 'noise'}-{index:05d}.wav"
            recording = Recording(path, split, {"label": label}, speaker)
            result.append(SpokenWord(recording, word, voice, (seed, number, index, 1)))
    return result
