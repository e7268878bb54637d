"""Shared by all synthetic tasks: a voice says a text, in noise, at some level."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from speechprompt.audio.acoustics import (
    NOISE_COLOURS,
    add_noise,
    colour_spectrum,
    make_noise,
    resize,
    scale_to,
)
from speechprompt.audio.reading import SAMPLE_RATE, resample
from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.corpora.synthetic import espeak, timing
from speechprompt.corpora.synthetic.persons import RATE, PersonVoice, utter
from speechprompt.corpora.synthetic.phones import QUIET_DB, Alignment, align, loud_samples
from speechprompt.corpora.synthetic.synthesis import Utterance
from speechprompt.corpora.synthetic.voices import Delivery, Voice, assign_voices

__all__ = ["Sentence", "background", "plan_sentences", "record", "say", "tilt"]

SNR_DB = (15.0, 40.0)
LEVEL_DB = (-36.0, -16.0)
TILT_DB = (-2.5, 2.5)
# The delivery of a plain sentence, apart from its rate, which is that of the other sentence.
PLAIN = Delivery(rate=175, pitch=50, pitch_range=40)
PLAIN_SNR_DB, PLAIN_LEVEL_DB = 40.0, -26.0
# Engines whose voices were recorded leave noise before and after the speech.
PERSONS_QUIET_DB = 40.0
RATES = (80, 450)  # words per minute that eSpeak NG takes
# A split, its size and a generator -> the labels of its sentences.
Draw = Callable[[str, int, np.random.Generator], Iterable[Mapping[str, str]]]
# Silence before and after a sentence, in samples.
MARGIN = (SAMPLE_RATE // 10, 3 * SAMPLE_RATE // 10)
# The length of a sentence is a multiple of this, because Fourier transforms of others are slow.
FAST_LENGTH = SAMPLE_RATE // 20
# The length of noise is a multiple of this, because a filter is kept for each length.
NOISE_LENGTH = SAMPLE_RATE // 2


@dataclass(frozen=True, slots=True)
class Sentence(Utterance):
    """A sentence at its natural length; the voice says its label ``text``.

    ``seed`` decides the delivery and the noise. A ``plain`` sentence is spoken by the accent's own
    voice in quiet, at a fixed pitch and level, and stretched to the same length. Its phones have
    almost the same timing, because eSpeak NG's variants hardly differ in it. That of a person's
    voice is found by dynamic time warping.
    """

    voice: Voice | PersonVoice
    seed: tuple[int, ...]
    plain: bool = False

    def render(self, speaker: espeak.Speaker) -> tuple[np.ndarray, Alignment]:
        """The sentence in noise with margins around it, float32 at 16 kHz; and its phones."""
        generator = np.random.default_rng(self.seed)
        text = self.recording.labels["text"].lower()
        delivery = Delivery.draw(generator)
        spoken, phones = say(speaker, text, self.voice, delivery)
        before, after = (int(margin) for margin in generator.integers(*MARGIN, size=2))
        n_samples = _whole(before + len(spoken) + after, FAST_LENGTH)
        if self.plain:
            spoken, phones = _say_plainly(speaker, text, self.voice, delivery.rate, spoken)
        padded = np.pad(spoken, (before, n_samples - before - len(spoken)))
        active = slice(before, before + len(spoken))
        if self.plain:
            noise = generator.standard_normal(n_samples, np.float32)
            recorded = scale_to(add_noise(padded, noise, PLAIN_SNR_DB, active), PLAIN_LEVEL_DB)
        else:
            noise = background(generator, n_samples)
            recorded = record(generator, tilt(generator, padded), noise, active)
        return recorded, phones.place(before / SAMPLE_RATE, n_samples / SAMPLE_RATE)


def plan_sentences(seed: int, stream: int, sizes: Mapping[str, int], draw: Draw) -> list[Utterance]:
    """Draw the sentences of every split, and give each a voice.

    Args:
        seed: Seed of the corpus.
        stream: Number of the task, which makes its draws differ from other tasks'.
        sizes: Split -> number of sentences.
        draw: Draws the labels of a split's sentences, of which ``text`` is spoken.
    """
    voices = assign_voices(seed)
    plan: list[Utterance] = []
    for number, split in enumerate(SPLITS):
        drawn = draw(split, sizes[split], np.random.default_rng((seed, stream, number)))
        for index, row in enumerate(drawn):
            generator = np.random.default_rng((seed, stream, number, index, 0))
            voice = voices[split][generator.integers(len(voices[split]))]
            path = f"{split}/{voice.name}-{index:05d}.wav"
            recording = Recording(path, split, row, voice.name)
            plan.append(Sentence(recording, voice, (seed, stream, number, index, 1)))
    return plan


def say(
    speaker: espeak.Speaker, text: str, voice: Voice | PersonVoice, delivery: Delivery
) -> tuple[np.ndarray, Alignment]:
    """Speak a text: float32 at 16 kHz, without silence around it; and its phones."""
    if isinstance(voice, PersonVoice):
        whole = utter(text, voice, delivery)
        spoken = whole[slice(*_loud_part(whole, PERSONS_QUIET_DB))]
        return spoken, _say_plainly(speaker, text, voice, RATE, spoken)[1]
    spoken, events = speaker.synthesise(text, voice.accent, voice.variant, **asdict(delivery))
    resampled = resample(spoken, espeak.SAMPLE_RATE, SAMPLE_RATE)
    start, stop = _loud_part(resampled)
    phones = align(spoken, events).place(-start / SAMPLE_RATE, (stop - start) / SAMPLE_RATE)
    return resampled[start:stop], phones


def tilt(generator: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """Tilt the spectrum of speech at random, as a microphone at some distance does."""
    return colour_spectrum(speech, generator.uniform(*TILT_DB), SAMPLE_RATE)


def background(generator: np.random.Generator, n_samples: int) -> np.ndarray:
    """Mix two noises of random colours: float32 ``[n_samples]`` with root mean square 1."""
    n_made = _whole(n_samples, NOISE_LENGTH)
    colours = generator.choice(list(NOISE_COLOURS), size=2)
    first, second = (make_noise(generator, n_made, str(c), SAMPLE_RATE) for c in colours)
    mixed = (first + np.float32(generator.uniform(0, 1)) * second)[:n_samples]
    return mixed / np.sqrt(np.mean(mixed**2))


def record(
    generator: np.random.Generator, speech: np.ndarray, noise: np.ndarray, active: slice
) -> np.ndarray:
    """Mix speech and noise of the same length at a random signal-to-noise ratio and level."""
    mixed = add_noise(speech, noise, generator.uniform(*SNR_DB), active)
    return scale_to(mixed, generator.uniform(*LEVEL_DB))


def _say_plainly(
    speaker: espeak.Speaker,
    text: str,
    voice: Voice | PersonVoice,
    rate: int,
    spoken: np.ndarray,
) -> tuple[np.ndarray, Alignment]:
    """Say what a voice has spoken in the accent's own voice, with the same timing."""
    own, delivery = Voice(voice.accent, None), replace(PLAIN, rate=rate)
    plain, phones = say(speaker, text, own, delivery)
    if isinstance(voice, PersonVoice):
        # At about the same pace there is less to warp.
        rate = int(np.clip(rate * len(plain) / len(spoken), *RATES))
        plain, phones = say(speaker, text, own, replace(delivery, rate=rate))
        here, there = timing.match(spoken, plain)
        moments = np.arange(0, len(spoken) + timing.HOP, timing.HOP) / SAMPLE_RATE
        followed = timing.follow(plain, np.interp(moments, here, there), len(spoken))
        return followed, phones.warp(there, here)
    return resize(plain, len(spoken)), phones.stretch(len(spoken) / len(plain))


def _loud_part(waveform: np.ndarray, quiet_db: float = QUIET_DB) -> tuple[int, int]:
    loud = loud_samples(waveform, quiet_db)
    return int(loud[0]), int(loud[-1]) + 1


def _whole(n_samples: int, step: int) -> int:
    """Round up to a multiple of a step."""
    return -(-n_samples // step) * step
