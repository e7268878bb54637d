"""Where the folders of the published corpora come from, and how a copy of them is recognised."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SOURCES", "Source"]

LIBRISPEECH_SUBSETS = (
    *("train-clean-100", "train-clean-360", "train-other-500"),
    *("dev-clean", "dev-other", "test-clean", "test-other"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """One folder of a corpus.

    Attributes:
        folder: Its name, as published, below the corpus root.
        asset: The archive that holds it, by its name in ``downloads.assets.ASSETS``.
        marker: What it must hold, as a glob pattern.
    """

    folder: str
    asset: str
    marker: str


SOURCES: dict[str, tuple[Source, ...]] = {
    "fsdd": (Source("recordings", "fsdd.tar.gz", "*_*_*.wav"),),
    "speech_commands": (
        Source("speech_commands_v0.01", "speech_commands_v0.01.tar.gz", "_background_noise_/*.wav"),
        Source(
            "speech_commands_test_set_v0.01",
            "speech_commands_test_set_v0.01.tar.gz",
            "_silence_/*.wav",
        ),
    ),
    "fluent_speech_commands": (
        Source("fluent_speech_commands_dataset", "fluent.tar.gz", "data/train_data.csv"),
    ),
    "librispeech": tuple(
        Source(subset, f"{subset}.tar.gz", "*/*/*.trans.txt") for subset in LIBRISPEECH_SUBSETS
    ),
    "audio_snips": (Source("SNIPS", "snips.zip", "all.iob.snips.txt"),),
}
