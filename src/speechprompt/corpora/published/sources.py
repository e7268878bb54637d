"""The folders of the published corpora: the archive of each, and how to recognise a copy."""

from dataclasses import dataclass
from typing import get_args

from speechprompt.config.published_corpora import LibriSpeechSubset

__all__ = ["SOURCES", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """One folder of a corpus.

    Attributes:
        folder: Its published name, below the corpus root.
        asset: The archive that holds it, by its name in ``downloads.assets.ASSETS``.
        marker: Glob pattern of a file that the folder must hold.
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
        Source(subset, f"{subset}.tar.gz", "*/*/*.trans.txt")
        for subset in get_args(LibriSpeechSubset)
    ),
    "audio_snips": (Source("SNIPS", "snips.zip", "all.iob.snips.txt"),),
    "speech_commands_v2": (
        Source("speech_commands_v0.02", "speech_commands_v0.02.tar.gz", "testing_list.txt"),
        Source(
            "speech_commands_test_set_v0.02",
            "speech_commands_test_set_v0.02.tar.gz",
            "_silence_/*.wav",
        ),
    ),
    "mini_speech_commands": (
        Source("mini_speech_commands", "mini_speech_commands.zip", "yes/[0-9a-f]*_nohash_*.wav"),
    ),
    "lt_speech_commands": (
        Source("dataset", "lt_speech_commands.tar.gz", "stop/[0-9]*_nohash_*.wav"),
    ),
}
