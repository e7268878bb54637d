"""Corpora: one block per kind; a kind is added here and to ``AnyCorpus``."""

import zlib
from pathlib import PurePath
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from speechprompt.config.corpus import Corpus, SpokenCorpus
from speechprompt.config.fields import Commit, Count, Keyword, Name, Repository, Share
from speechprompt.config.published_corpora import (
    AudioSnipsCorpus,
    FluentSpeechCommandsCorpus,
    FsddCorpus,
    LibriSpeechCorpus,
    LtSpeechCommandsCorpus,
    MiniSpeechCommandsCorpus,
    PublishedCorpus,
    SpeechCommandsCorpus,
    SpeechCommandsV2Corpus,
)
from speechprompt.downloads.model_folder import check_repository, check_revision

__all__ = [
    "AnyCorpus",
    "AudioSnipsCorpus",
    "Corpus",
    "CsvCorpus",
    "FluentSpeechCommandsCorpus",
    "FsddCorpus",
    "KaldiCorpus",
    "LhotseCorpus",
    "LibriSpeechCorpus",
    "ListedCorpus",
    "LtSpeechCommandsCorpus",
    "MiniSpeechCommandsCorpus",
    "ParquetCorpus",
    "PublishedCorpus",
    "SpeechCommandsCorpus",
    "SpeechCommandsV2Corpus",
    "SyntheticCorpus",
    "UnitsCorpus",
]

# Languages that read English spelling by rules of their own, and so with sounds of their own.
# fmt: off
Language = Literal[
    "cs", "cy", "de", "es", "et", "eu", "fi", "hr", "hu", "id", "is", "it", "ku", "lt", "lv",
    "mt", "nb", "nl", "pl", "pt-br", "ro", "sk", "sl", "sq", "sv", "sw", "tr",
]
# fmt: on
SYNTHETIC_COLUMNS = {
    "keyword_spotting": ["label"],
    "intent_classification": ["action", "object", "location", "text"],
    "transcription": ["text"],
    "slot_filling": ["text", "tags", "intent"],
    "english": ["text"],
    "words": ["label"],
}


class SyntheticCorpus(SpokenCorpus):
    """Speech for one of the four tasks, or for pre-training, spoken on the spot."""

    kind: Literal["synthetic"] = "synthetic"
    task: Literal[
        "keyword_spotting",
        "intent_classification",
        "transcription",
        "slot_filling",
        "english",
        "words",
    ] = Field(
        "keyword_spotting",
        description="what is spoken; its label columns are, in this order: "
        + "; ".join(
            ", ".join(f"`{name}`" for name in names) for names in SYNTHETIC_COLUMNS.values()
        ),
    )
    n_train: Count = Field(3600, description="training utterances")
    n_valid: Count = Field(600, description="validation utterances, voices of their own")
    n_test: Count = Field(1200, description="test utterances, voices of their own")
    plain: bool = Field(
        False,
        description="the same sentences by each accent's own voice in quiet, in the same time: "
        "what an encoder is to hear in all others",
    )
    engines: list[Literal["espeak", "flite", "festival", "piper", "kokoro"]] = Field(
        [],
        description="engines whose voices, which come from recordings of people, speak instead of "
        "eSpeak NG's; they are installed apart. With `espeak` among them, its own voices speak "
        "half of the utterances",
    )
    keywords: list[Keyword] = Field(
        [],
        description="words of task `keyword_spotting` instead of the ten of Speech Commands, for "
        "keywords of your own without recordings; a phrase is cut after one second. `_unknown_` "
        "and `_silence_` are classes, too",
    )
    languages: list[Language] = Field(
        [],
        description="languages whose rules and sounds eSpeak NG reads the English texts with, "
        "instead of English accents, so that an encoder hears sounds that English lacks; of task "
        "`words` they read every third word",
    )

    @property
    def label_columns(self) -> list[str]:
        """The columns of the task, and the voice."""
        return [*SYNTHETIC_COLUMNS[self.task], "speaker"]

    @model_validator(mode="after")
    def _check_plain(self) -> Self:
        if self.plain and self.task in ("keyword_spotting", "words"):
            raise ValueError(f"plain: goes with sentences, not with task {self.task!r}")
        if self.keywords and self.task != "keyword_spotting":
            raise ValueError(f"keywords: go with task 'keyword_spotting', not with {self.task!r}")
        if len({word.lower() for word in self.keywords}) < len(self.keywords):
            raise ValueError("keywords: expected each word once")
        if self.engines == ["espeak"]:
            raise ValueError(
                "engines: expected another beside espeak, whose voices are the default"
            )
        if self.engines and self.languages and self.task != "words":
            raise ValueError("languages: engines speak English alone; give one of the two")
        return self


class ListedCorpus(SpokenCorpus):
    """Own recordings, which files list; they are read where they are."""

    kind: str
    valid_fraction: Share = Field(
        0.1, description="share of train taken as valid where nothing is listed as valid"
    )

    @property
    def base(self) -> str:
        """The folder that relative paths of recordings start from."""
        raise NotImplementedError


class CsvCorpus(ListedCorpus):
    """Own recordings: a table with path, split, optionally speaker, start and end, then labels."""

    kind: Literal["csv"] = "csv"
    table: str = Field(description="CSV or TSV file; its paths are relative to its folder")

    @property
    def base(self) -> str:
        """The folder of the table."""
        return str(PurePath(self.table).parent)


class KaldiCorpus(ListedCorpus):
    """Kaldi's data folders: `wav.scp`, `segments`, `utt2spk`; labels are in `text` and `utt2*`."""

    kind: Literal["kaldi"] = "kaldi"
    train: str = Field(description="data folder of train")
    valid: str | None = Field(None, description="data folder of valid")
    test: str | None = Field(None, description="data folder of test; none for pre-training only")
    root: str = Field(".", description="folder that relative paths in `wav.scp` start from")
    trust: bool = Field(
        False,
        description="run the commands in `wav.scp`, which may do anything; their output is kept in "
        "`resources/corpora/{corpus}/made`",
    )

    @property
    def base(self) -> str:
        """The configured root."""
        return self.root


class LhotseCorpus(ListedCorpus):
    """Lhotse's manifests: recordings and supervisions, or cuts, as JSON lines."""

    kind: Literal["lhotse"] = "lhotse"
    train: str | list[str] = Field(
        description="manifest of cuts, or manifests of recordings and supervisions; `.jsonl` or "
        "`.jsonl.gz`"
    )
    valid: str | list[str] | None = Field(None, description="the same for valid")
    test: str | list[str] | None = Field(
        None, description="the same for test; none for pre-training only"
    )
    root: str = Field(".", description="folder that relative paths of recordings start from")

    @property
    def base(self) -> str:
        """The configured root."""
        return self.root


class ParquetCorpus(ListedCorpus):
    """Parquet files with recordings inside, such as the audio data sets of the Hugging Face hub."""

    kind: Literal["parquet"] = "parquet"
    folder: str | None = Field(
        None,
        description="folder of the files; their names or those of their folders say `train`, "
        "`valid` (`validation`, `dev`) or `test`",
    )
    repository: Repository | None = Field(
        None, description="or the name of a data set on the hub, such as google/fleurs"
    )
    revision: Commit | None = Field(
        None, description="its commit (40 hexadecimal digits), in which the files are Parquet"
    )
    files: str = Field(
        "*.parquet", description="pattern of the data set's files that are fetched, with folders"
    )
    audio: str | None = Field(
        None, description="column of recordings; null takes the only one of structs"
    )
    speaker: str | None = Field(
        None, description="column of the speaker; null takes `speaker`, where there is one"
    )
    split: str | None = Field(None, description="column of the split; null reads it from names")

    @property
    def base(self) -> str:
        """The folder of the files, or the one that they are fetched to."""
        return self.folder or self.hub_folder or ""

    @property
    def hub_folder(self) -> str | None:
        """The folder that a data set of the hub is fetched to."""
        if self.repository is None:
            return None
        whole = self.files == type(self).model_fields["files"].default
        part = "" if whole else f"-{zlib.crc32(self.files.encode()):08x}"
        return f"resources/corpora/hub/{self.repository.replace('/', '--')}/{self.revision}{part}"

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if (self.folder is None) == (self.repository is None):
            raise ValueError("expected either `folder` or `repository`")
        if (self.repository is None) != (self.revision is None):
            raise ValueError("`repository` and `revision` go together")
        if self.repository is not None and self.revision is not None:
            check_repository(self.repository, "google/fleurs")
            check_revision(self.revision)
        return self


class UnitsCorpus(Corpus):
    """Already quantised text, in the forms of GSLM, fairseq, textlesslib, slamkit and others."""

    kind: Literal["units"] = "units"
    codebook: Name = Field(description="the external codebook the units belong to")
    train: str = Field(description="file of training lines")
    valid: str | None = Field(
        None,
        description="file of validation lines, scored once at the end; null takes a share of train",
    )
    test: str | None = Field(None, description="file of test lines, scored once at the end")
    table: str | None = Field(
        None,
        description="CSV or TSV file of labels for lines without, by `utt_id`, `path` or `file`",
    )
    columns: list[str] = Field(
        ["label"], description="names of the labels, in the order of a line; `speaker` is one too"
    )
    label_names: list[str] | dict[str, list[str]] | None = Field(
        None,
        description="names of the label indices: a list counts through all columns, lists by "
        "column go on where the column before ended; null keeps the numbers",
    )
    collapse: bool = Field(False, description="make repeated units one, as the unit LM reads them")
    deduplicate: bool = Field(True, description="keep repeated training lines once")
    valid_fraction: Share = Field(
        0.1, description="share of train taken as valid where no file is named"
    )
    disjoint: str | None = Field(
        None,
        description="column whose values are in one split each, where splits are taken from train; "
        "null keeps equal units together",
    )
    dev_fraction: Share = Field(
        0.1, description="share of train, by hash of the unit string, that all choices look at"
    )

    @model_validator(mode="after")
    def _check_disjoint(self) -> Self:
        if self.disjoint is not None and self.disjoint not in self.columns:
            raise ValueError(f"disjoint: expected {', '.join(self.columns)}, found {self.disjoint}")
        return self

    @property
    def label_columns(self) -> list[str]:
        """The configured names of a line's labels."""
        return self.columns

    @property
    def dev_split(self) -> str:
        """A slice of train, so that valid stays unseen until it is scored."""
        return "dev" if self.dev_fraction else "valid"

    @property
    def scored_splits(self) -> list[str]:
        """Valid and, where a file is given, test."""
        return ["valid", "test"] if self.test else ["valid"]


AnyCorpus = Annotated[
    SyntheticCorpus
    | CsvCorpus
    | KaldiCorpus
    | LhotseCorpus
    | ParquetCorpus
    | FsddCorpus
    | SpeechCommandsCorpus
    | FluentSpeechCommandsCorpus
    | LibriSpeechCorpus
    | AudioSnipsCorpus
    | SpeechCommandsV2Corpus
    | MiniSpeechCommandsCorpus
    | LtSpeechCommandsCorpus
    | UnitsCorpus,
    Field(discriminator="kind"),
]
