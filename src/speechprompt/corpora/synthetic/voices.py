"""The voices of the synthetic corpora, accents times voice variants, and their split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from speechprompt.corpora.manifest import SPLITS

__all__ = ["ACCENTS", "HIGH_VARIANTS", "LOW_VARIANTS", "Delivery", "Voice", "assign_voices"]

ACCENTS = (
    *("en-029", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp"),
    *("en-us", "en-us-nyc"),
)
# The variants that sound like a person. Whispers, croaks, robots and demons are left out. So are
# variants that differ from one of these only in loudness, or hardly at all.
LOW_VARIANTS = (
    *("Alex", "Andy", "Denis", "Diogo", "Gene", "Jacky", "Lee", "Mario", "Michael", "Mike"),
    *("Mr serious", "Nguyen", "Reed", "adam", "benjamin", "boris"),
    *("ed", "edward", "gustave", "ian", "iven", "iven3", "john", "kaukovalta", "klatt4"),
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "max", "michel", "mike2", "norbert"),
    *("pablo", "paul", "pedro", "quincy", "robert", "sandro", "travis", "victor"),
)
HIGH_VARIANTS = (
    *("Alicia", "Andrea", "Annie", "anika", "aunty", "belinda", "f1", "f2", "f3", "f4", "f5"),
    *("grandma", "linda", "shelby", "steph", "zac"),
)
SHARES: Mapping[str, float] = {"train": 0.6, "valid": 0.15, "test": 0.25}


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker: an accent with a voice variant; the variant None is the accent's own voice."""

    accent: str
    variant: str | None

    @property
    def name(self) -> str:
        """The speaker's name, without blanks."""
        return f"{self.accent}+{(self.variant or 'own').replace(' ', '_')}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a voice says one utterance: words per minute, pitch 0-99, pitch range 0-99."""

    rate: int
    pitch: int
    pitch_range: int

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Self:
        """Draw a delivery, from slow and flat to fast and lively."""
        return cls(
            rate=int(generator.integers(120, 231)),
            pitch=int(generator.integers(25, 76)),
            pitch_range=int(generator.integers(20, 81)),
        )


def assign_voices(seed: int, accents: Sequence[str] = ACCENTS) -> dict[str, list[Voice]]:
    """Divide the voices into those of train, valid and test.

    A seed gives the same voices in every task, so that no voice of any task's test is in any task's
    train. All splits have all accents, but no variant is in two of them. High and low voices are
    divided in the same proportions.
    """
    generator = np.random.default_rng(seed)
    variants: dict[str, list[str]] = {split: [] for split in SPLITS}
    for group in (LOW_VARIANTS, HIGH_VARIANTS):
        shuffled = [group[index] for index in generator.permutation(len(group))]
        start = 0
        for split in SPLITS:
            end = len(group) if split == SPLITS[-1] else start + round(SHARES[split] * len(group))
            variants[split] += shuffled[start:end]
            start = end
    return {
        split: [Voice(accent, variant) for variant in sorted(variants[split]) for accent in accents]
        for split in SPLITS
    }
