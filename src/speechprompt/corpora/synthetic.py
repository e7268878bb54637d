"""Synthetic keyword spotting: the twelve classes of Speech Commands, spoken by eSpeak NG.

Built like the KS task of SUPERB: about one second, ten keywords, any other word as ``_unknown_``,
noise alone as ``_silence_``. No voice is heard in two splits, and part of the other words of
valid and test are never heard in train.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from speechprompt.audio import SAMPLE_RATE, resample
from speechprompt.corpora import espeak
from speechprompt.corpora.acoustics import (
    NOISE_COLOURS,
    add_noise,
    colour_spectrum,
    make_noise,
    scale_to,
)
from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.corpora.synthesis import TABLE, Utterance, synthesise_corpus
from speechprompt.corpora.table import prepare_table
from speechprompt.corpora.voices import Delivery, Voice, assign_voices
from speechprompt.digest import digest

__all__ = ["CLASSES", "KEYWORDS", "UNKNOWN_WORDS", "prepare_synthetic", "synthesise_keywords"]

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
SNR_DB = (15.0, 40.0)
LEVEL_DB = (-36.0, -16.0)
SILENCE_LEVEL_DB = (-60.0, -24.0)
TILT_DB = (-2.5, 2.5)
# Quieter than this below the peak counts as silence around the word.
TRIM_DB = 55.0


@dataclass(frozen=True, slots=True)
class _Keyword(Utterance):
    """A word (None: silence) in a voice; ``seed`` draws its delivery and its surroundings."""

    word: str | None
    voice: Voice
    seed: tuple[int, ...]


def synthesise_keywords(
    out_dir: str | Path,
    *,
    seed: int,
    n_train: int = 3600,
    n_valid: int = 600,
    n_test: int = 1200,
) -> Path:
    """Make the recordings and their table.

    Args:
        out_dir: Folder of the corpus; a finished or unfinished one is continued or kept where its
            parameters are the same, and made anew where they are not.
        seed: Seed of the voices' split, the words, deliveries and noises.
        n_train: Utterances of train, the classes evenly; likewise the following.
        n_valid: Utterances of valid.
        n_test: Utterances of test.

    Returns:
        The table, ``out_dir/corpus.csv``: ``path``, ``split``, ``speaker``, ``label``.

    Raises:
        CorpusError: the folder holds something else.
        SpeechError: eSpeak NG fails.
    """
    sizes = {"train": n_train, "valid": n_valid, "test": n_test}
    parameters = {
        "corpus": "keyword_spotting",
        "seed": seed,
        **{f"n_{split}": size for split, size in sizes.items()},
        "espeakng-loader": version("espeakng-loader"),
        "source": digest("corpora.synthetic"),
    }
    return synthesise_corpus(out_dir, _plan(seed, sizes), _render, parameters)


def prepare_synthetic(
    root: str | Path,
    out_dir: str | Path,
    *,
    seed: int,
    max_rejected: float = 0.01,
    threads: int = 1,
) -> dict[str, int]:
    """Turn a synthesised corpus into manifests.

    Args:
        root: Folder that a ``synthesise_*`` function filled.
        out_dir: Folder of the manifests.
        seed: See :func:`~speechprompt.corpora.manifest.write_manifests`, as for the following.
        max_rejected: Largest share of unusable recordings that is passed over.
        threads: Recordings decoded at a time.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: the folder has no finished corpus, or as for ``write_manifests``.
    """
    return prepare_table(
        Path(root) / TABLE, out_dir, seed=seed, max_rejected=max_rejected, threads=threads
    )


def _plan(seed: int, sizes: dict[str, int]) -> list[_Keyword]:
    """Decide who says what. Nothing is drawn for one utterance that depends on another's."""
    voices = assign_voices(np.random.default_rng(seed))
    plan = []
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
            plan.append(_Keyword(recording, word, voice, (seed, number, index, 1)))
    return plan


def _render(speaker: espeak.Speaker, item: _Keyword) -> np.ndarray:
    """One second of a word in noise, or of noise, float32 at 16 kHz."""
    generator = np.random.default_rng(item.seed)
    noise = _background(generator)
    if item.word is None:
        return scale_to(noise, generator.uniform(*SILENCE_LEVEL_DB))
    delivery = Delivery.draw(generator)
    spoken = speaker.synthesise(
        item.word,
        item.voice.accent,
        item.voice.variant,
        rate=delivery.rate,
        pitch=delivery.pitch,
        pitch_range=delivery.pitch_range,
    )
    word = _trim(resample(spoken, espeak.SAMPLE_RATE, SAMPLE_RATE))[:N_SAMPLES]
    word = colour_spectrum(word, generator.uniform(*TILT_DB), SAMPLE_RATE)
    start = int(generator.integers(N_SAMPLES - len(word) + 1))
    speech = np.zeros(N_SAMPLES, np.float32)
    active = slice(start, start + len(word))
    speech[active] = word
    mixed = add_noise(speech, noise, generator.uniform(*SNR_DB), active)
    return scale_to(mixed, generator.uniform(*LEVEL_DB))


def _background(generator: np.random.Generator) -> np.ndarray:
    """A mixture of two noises, float32 ``[n_samples]`` with root mean square 1."""
    colours = generator.choice(list(NOISE_COLOURS), size=2)
    first, second = (make_noise(generator, N_SAMPLES, str(c), SAMPLE_RATE) for c in colours)
    mixed = first + np.float32(generator.uniform(0, 1)) * second
    return mixed / np.sqrt(np.mean(mixed**2))


def _trim(waveform: np.ndarray) -> np.ndarray:
    """Cut off the silence around a word."""
    loud = np.flatnonzero(np.abs(waveform) > np.abs(waveform).max() * 10 ** (-TRIM_DB / 20))
    return waveform[loud[0] : loud[-1] + 1]
