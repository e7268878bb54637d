"""Published corpora: one block per kind."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from speechprompt.config.corpus import SpokenCorpus
from speechprompt.config.fields import Count, Share

__all__ = [
    "AudioSnipsCorpus",
    "FluentSpeechCommandsCorpus",
    "FsddCorpus",
    "LibriSpeechCorpus",
    "LibriSpeechSubset",
    "LtSpeechCommandsCorpus",
    "MiniSpeechCommandsCorpus",
    "PublishedCorpus",
    "SpeechCommandsCorpus",
    "SpeechCommandsV2Corpus",
]

LibriSpeechSubset = Literal[
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
]


class PublishedCorpus(SpokenCorpus):
    """A published corpus: downloaded and checked, or a copy that is there already."""

    root: str | None = Field(None, description="folder with a copy; null downloads the corpus")

    @property
    def folders(self) -> list[str] | None:
        """The folders that the splits are made of; None stands for all of the corpus."""
        return None


class FsddCorpus(PublishedCorpus):
    """The Free Spoken Digit Dataset: digits by several speakers, label column `digit`."""

    kind: Literal["fsdd"] = "fsdd"
    test_speaker: str | None = Field(
        None, description="speaker left out for test; null takes the official split"
    )
    valid_fraction: Share = Field(0.1, description="share of train taken as valid")
    columns_of_kind: ClassVar = ["digit", "speaker"]


class SpeechCommandsCorpus(PublishedCorpus):
    """Speech Commands v0.01 and its test archive: twelve classes, label column `label`."""

    kind: Literal["speech_commands"] = "speech_commands"
    n_silence: Count = Field(
        5000,
        description="seeded crops of the noises: some 80 % go to train, 10 % to valid",
    )
    columns_of_kind: ClassVar = ["label", "speaker"]


class SpeechCommandsV2Corpus(PublishedCorpus):
    """Speech Commands v0.02: all 35 words, or twelve classes; label column `label`."""

    kind: Literal["speech_commands_v2"] = "speech_commands_v2"
    classes: Literal[35, 12] = Field(
        35, description="35 words by the published lists, or twelve classes and the test archive"
    )
    n_silence: Count = Field(5000, description="crops of silence, for twelve classes")
    columns_of_kind: ClassVar = ["label", "speaker"]

    @property
    def folders(self) -> list[str] | None:
        """The archive of words is all that 35 classes need."""
        return ["speech_commands_v0.02"] if self.classes == 35 else None


class MiniSpeechCommandsCorpus(PublishedCorpus):
    """Mini Speech Commands: 1000 recordings of each of eight words; label column `label`."""

    kind: Literal["mini_speech_commands"] = "mini_speech_commands"
    columns_of_kind: ClassVar = ["label", "speaker"]


class LtSpeechCommandsCorpus(PublishedCorpus):
    """Lithuanian Speech Commands: 13 words and others; label column `label`."""

    kind: Literal["lt_speech_commands"] = "lt_speech_commands"
    train_per_word: Count | None = Field(
        20, description="recordings of train of each word, as published; null takes all"
    )
    columns_of_kind: ClassVar = ["label", "speaker"]


class FluentSpeechCommandsCorpus(PublishedCorpus):
    """Fluent Speech Commands: label columns `action`, `object`, `location`, and `text`."""

    kind: Literal["fluent_speech_commands"] = "fluent_speech_commands"
    columns_of_kind: ClassVar = ["action", "object", "location", "text", "speaker"]


class LibriSpeechCorpus(PublishedCorpus):
    """LibriSpeech: read English, label column `text`."""

    kind: Literal["librispeech"] = "librispeech"
    columns_of_kind: ClassVar = ["text", "speaker"]
    train: list[LibriSpeechSubset] = Field(
        ["train-clean-100"], min_length=1, description="subsets of train"
    )
    valid: list[LibriSpeechSubset] = Field(
        ["dev-clean"], min_length=1, description="subsets of valid"
    )
    test: list[LibriSpeechSubset] = Field(
        ["test-clean"], min_length=1, description="subsets of test"
    )

    @property
    def folders(self) -> list[str]:
        """The subsets of all splits."""
        return [*self.train, *self.valid, *self.test]

    @model_validator(mode="after")
    def _check_disjoint(self) -> Self:
        if repeated := [name for name in self.folders if self.folders.count(name) > 1]:
            raise ValueError(f"the subset {repeated[0]!r} is named more than once")
        return self


class AudioSnipsCorpus(PublishedCorpus):
    """Audio SNIPS in SUPERB's form: label columns `text`, `tags` (one per word) and `intent`."""

    kind: Literal["audio_snips"] = "audio_snips"
    columns_of_kind: ClassVar = ["text", "tags", "intent", "speaker"]
