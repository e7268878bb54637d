"""What every synthetic task shares: a voice says something, in noise, at some level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechprompt.audio.acoustics import (
    NOISE_COLOURS,
    add_noise,
    colour_spectrum,
    make_noise,
    scale_to,
)
from speechprompt.audio.reading import SAMPLE_RATE, resample
from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.corpora.synthetic import espeak
from speechprompt.corpora.synthetic.phones import QUIET_DB, Alignment, align
from speechprompt.corpora.synthetic.synthesis import Utterance
from speechprompt.corpora.synthetic.voices import Delivery, Voice, assign_voices

__all__ = ["Sentence", "background", "plan_sentences", "record", "say", "tilt", "voices_of"]

SNR_DB = (15.0, 40.0)
LEVEL_DB = (-36.0, -16.0)
TILT_DB = (-2.5, 2.5)
# How a plain sentence is said; its rate is the other's.
PLAIN = Delivery(rate=175, pitch=50, pitch_range=40)
PLAIN_SNR_DB, PLAIN_LEVEL_DB = 40.0, -26.0
# Silence before and after a sentence, in samples.
MARGIN = (SAMPLE_RATE // 10, 3 * SAMPLE_RATE // 10)
# Sentences are a multiple of this long, as Fourier transforms of odd lengths are slow.
FAST_LENGTH = SAMPLE_RATE // 20
# Noise is made in few lengths, as what colours it is kept for each.
NOISE_LENGTH = SAMPLE_RATE // 2


@dataclass(frozen=True, slots=True)
class Sentence(Utterance):
    """A sentence at its natural length; its label ``text`` is what the voice says.

    ``seed`` draws its delivery and its surroundings. A ``plain`` one is what the accent's own voice
    says in quiet, at one pitch and level, stretched to the same timing: eSpeak NG's variants sound
    different, but take almost the same time for every phone.
    """

    voice: Voice
    seed: tuple[int, ...]
    plain: bool = False

    def render(self, speaker: espeak.Speaker) -> tuple[np.ndarray, Alignment]:
        """The sentence in noise, a little silence around it, float32 at 16 kHz; its phones."""
        generator = np.random.default_rng(self.seed)
        text = self.recording.labels["text"].lower()
        delivery = Delivery.draw(generator)
        spoken, phones = say(speaker, text, self.voice, delivery)
        before, after = (int(margin) for margin in generator.integers(*MARGIN, size=2))
        n_samples = _whole(before + len(spoken) + after, FAST_LENGTH)
        if self.plain:
            delivery = replace(PLAIN, rate=delivery.rate)
            plain, phones = say(speaker, text, Voice(self.voice.accent, None), delivery)
            phones = phones.stretch(len(spoken) / len(plain))
            spoken = _stretch(plain, len(spoken))
        padded = np.pad(spoken, (before, n_samples - before - len(spoken)))
        active = slice(before, before + len(spoken))
        if self.plain:
            noise = generator.standard_normal(n_samples, np.float32)
            recorded = scale_to(add_noise(padded, noise, PLAIN_SNR_DB, active), PLAIN_LEVEL_DB)
        else:
            noise = background(generator, n_samples)
            recorded = record(generator, tilt(generator, padded), noise, active)
        return recorded, phones.place(before / SAMPLE_RATE, n_samples / SAMPLE_RATE)


def voices_of(seed: int) -> dict[str, list[Voice]]:
    """The voices of each split: for one seed the same in every task, so that no voice of any
    task's test is heard in any task's train.
    """
    return assign_voices(np.random.default_rng(seed))


def plan_sentences(
    seed: int, stream: int, labels: Mapping[str, Sequence[Mapping[str, str]]]
) -> list[Sentence]:
    """Give every sentence a voice.

    Args:
        seed: Seed of the corpus.
        stream: Number of the task, which tells its draws from other tasks'.
        labels: Split -> the labels of its sentences; ``text`` is what is said.
    """
    voices = voices_of(seed)
    plan = []
    for number, split in enumerate(SPLITS):
        for index, row in enumerate(labels[split]):
            generator = np.random.default_rng((seed, stream, number, index, 0))
            voice = voices[split][generator.integers(len(voices[split]))]
            path = f"{split}/{voice.name}-{index:05d}.wav"
            recording = Recording(path, split, row, voice.name)
            plan.append(Sentence(recording, voice, (seed, stream, number, index, 1)))
    return plan


def say(
    speaker: espeak.Speaker, text: str, voice: Voice, delivery: Delivery
) -> tuple[np.ndarray, Alignment]:
    """A text in some delivery, float32 at 16 kHz, without silence around it; its phones."""
    spoken, events = speaker.synthesise_aligned(
        text,
        voice.accent,
        voice.variant,
        rate=delivery.rate,
        pitch=delivery.pitch,
        pitch_range=delivery.pitch_range,
    )
    resampled = resample(spoken, espeak.SAMPLE_RATE, SAMPLE_RATE)
    kept = _without_silence(resampled)
    trimmed = resampled[kept]
    phones = align(spoken, events).place(-kept.start / SAMPLE_RATE, len(trimmed) / SAMPLE_RATE)
    return trimmed, phones


def tilt(generator: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """Speech through some microphone at some distance."""
    return colour_spectrum(speech, generator.uniform(*TILT_DB), SAMPLE_RATE)


def background(generator: np.random.Generator, n_samples: int) -> np.ndarray:
    """A mixture of two noises, float32 ``[n_samples]`` with root mean square 1."""
    n_made = _whole(n_samples, NOISE_LENGTH)
    colours = generator.choice(list(NOISE_COLOURS), size=2)
    first, second = (make_noise(generator, n_made, str(c), SAMPLE_RATE) for c in colours)
    mixed = (first + np.float32(generator.uniform(0, 1)) * second)[:n_samples]
    return mixed / np.sqrt(np.mean(mixed**2))


def record(
    generator: np.random.Generator, speech: np.ndarray, noise: np.ndarray, active: slice
) -> np.ndarray:
    """Speech in noise as long, at some ratio to it where it is active, and at some level."""
    mixed = add_noise(speech, noise, generator.uniform(*SNR_DB), active)
    return scale_to(mixed, generator.uniform(*LEVEL_DB))


def _stretch(waveform: np.ndarray, n_samples: int) -> np.ndarray:
    """Play faster or slower, to another number of samples."""
    spectrum = np.fft.rfft(waveform)[: n_samples // 2 + 1]
    return (np.fft.irfft(spectrum, n_samples) * (n_samples / len(waveform))).astype(np.float32)


def _whole(n_samples: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-n_samples // step) * step


def _without_silence(waveform: np.ndarray) -> slice:
    """The part without the silence around speech."""
    loud = np.flatnonzero(np.abs(waveform) > np.abs(waveform).max() * 10 ** (-QUIET_DB / 20))
    return slice(int(loud[0]), int(loud[-1]) + 1)
