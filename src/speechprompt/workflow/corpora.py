"""Corpora in the plan: where recordings come from, and what their manifests are made of."""

import json
import os
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from speechprompt.config import Config
from speechprompt.config.corpora import (
    Corpus,
    CsvCorpus,
    KaldiCorpus,
    ListedCorpus,
    ParquetCorpus,
    PublishedCorpus,
    SpeechCommandsCorpus,
    SpeechCommandsV2Corpus,
    UnitsCorpus,
)
from speechprompt.config.crossvalidation import FoldCorpus
from speechprompt.config.models import ExternalCodebook
from speechprompt.config.values import block_to_json
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.corpora.registry import listing_of
from speechprompt.errors import CorpusError
from speechprompt.workflow.blocks import block_of, speeds_of
from speechprompt.workflow.given_files import unit_texts
from speechprompt.workflow.paths import (
    MANIFEST,
    REPLACED,
    Wildcards,
    fingerprint_of,
    one_of,
    operand,
    options,
)

__all__ = ["Corpora"]

# The output of commands in Kaldi's lists.
MADE = "resources/corpora/{corpus}/made"


@dataclass(frozen=True)
class Corpora:
    """What the rules of corpora ask for."""

    config: Config

    def of_kind(self, *kinds: str) -> str:
        """Constraint: the corpora of some kinds."""
        return one_of(name for name, block in self.config.corpora.items() if block.kind in kinds)

    def not_of_kind(self, *kinds: str) -> str:
        """Constraint: the corpora of all other kinds."""
        blocks = self.config.corpora.items()
        return one_of(name for name, block in blocks if block.kind not in kinds)

    def settings(self, wildcards: Wildcards) -> str:
        """A corpus's block, less what does not matter to its rows."""
        return block_to_json(self.config.corpora[wildcards.corpus], {"root", "listen", "speeds"})

    def speeds(self, wildcards: Wildcards) -> str:
        """The further speeds that its recordings are heard at, as an option."""
        speeds = speeds_of(self.config.corpora[wildcards.corpus])
        return options(speeds=speeds and json.dumps(speeds))

    def folders(self) -> str:
        """Constraint: the folders of published corpora, after the corpus that has them."""
        return one_of(
            f"(?<=/{name}/root/){re.escape(folder)}"
            for name, corpus in self.config.corpora.items()
            if isinstance(corpus, PublishedCorpus)
            for folder in self._folders(name)
        )

    def source(self, wildcards: Wildcards) -> str:
        """Options that say what is downloaded, or where a copy is."""
        corpus = block_of(self.config.corpora, wildcards.corpus, PublishedCorpus)
        kind = self.config.corpora[wildcards.corpus].kind
        return options(kind=kind, root=corpus.root, folders=wildcards.folder)

    @property
    def uses_hub(self) -> bool:
        """Whether a data set of the hub is fetched."""
        return bool(self._hub())

    def hub_corpora(self) -> str:
        """Constraint: repository and revision of the data sets of the hub, as folders."""
        return one_of(re.escape(PurePosixPath(folder).parent.name) for folder in self._hub())

    def hub_revisions(self) -> str:
        """Constraint: the folders of their revisions."""
        return one_of(PurePosixPath(folder).name for folder in self._hub())

    def hub_source(self, wildcards: Wildcards, output: Any) -> str:
        """The name of a data set of the hub, and options that say what of it is fetched."""
        corpus = self._hub()[str(output.folder)]
        source = options(revision=corpus.revision, files=corpus.files)
        return f"{shlex.quote(corpus.repository or '')} {source}"

    def listing(self, wildcards: Wildcards) -> list[str]:
        """The file that lists a corpus's recordings, or the folders that are searched for them."""
        name, corpus = wildcards.corpus, self.config.corpora[wildcards.corpus]
        if folder := _hub_folder(corpus):
            return [folder]
        if isinstance(corpus, ListedCorpus):
            return self._listing_files[name]
        if corpus.kind == "synthetic":
            return [f"resources/corpora/{name}/corpus.csv"]
        return self._published(name)

    def listed(self, wildcards: Wildcards) -> list[str]:
        """The recordings behind a file that lists them."""
        corpus = self.config.corpora[wildcards.corpus]
        if isinstance(corpus, PublishedCorpus):
            return []
        if folder := _hub_folder(corpus):
            return [folder]
        if isinstance(corpus, ListedCorpus):
            return self._listed_recordings[wildcards.corpus]
        return self.recordings(wildcards.corpus, *corpus.splits)

    def root(self, wildcards: Wildcards, input: Any) -> str:
        """The folder that the paths of a corpus's manifests start from."""
        corpus, first = self.config.corpora[wildcards.corpus], Path(input.listed[0])
        if isinstance(corpus, ListedCorpus) and not isinstance(corpus, CsvCorpus):
            return shlex.quote(operand(corpus.base))
        is_fsdd = corpus.kind == "fsdd"
        return shlex.quote(operand(str(first if is_fsdd else first.parent)))

    def fingerprint(self, wildcards: Wildcards) -> str:
        """Sizes and times of a table and its recordings, so that one replaced in place is noticed.

        Only the planning process has them all; for the others, where the files are elsewhere, this
        is the value without any.
        """
        return self._fingerprints.get(wildcards.corpus, "")

    def recordings(self, corpus: str, *splits: str) -> list[str]:
        """What the manifests of some splits lead to: folders, or files in the working directory."""
        block: Any = self.config.corpora[corpus]
        if isinstance(block, FoldCorpus):
            return self.recordings(block.of, *self.config.corpora[block.of].splits)
        if folder := _hub_folder(block):
            return [folder]
        if isinstance(block, ListedCorpus):
            made = [MADE.format(corpus=corpus)] if _has_commands(block) else []
            return self._listed_recordings[corpus] + made
        if block.kind == "synthetic":
            return [f"resources/corpora/{corpus}/{split}" for split in splits]
        cut = [f"resources/corpora/{corpus}/root/silence"] if _cuts_silence(block) else []
        return self._published(corpus) + cut

    def with_commands(self) -> str:
        """Constraint: the corpora whose lists have commands that are run."""
        return one_of(name for name, block in self.config.corpora.items() if _has_commands(block))

    def with_silence(self) -> str:
        """Constraint: the corpora whose preparation cuts silence out of noises."""
        return one_of(name for name, block in self.config.corpora.items() if _cuts_silence(block))

    def only_listed(self) -> str:
        """Constraint: the corpora whose preparation makes no recordings."""
        return one_of(
            name
            for name, block in self.config.corpora.items()
            if block.kind not in ("units", "fold")
            and not _has_commands(block)
            and not _cuts_silence(block)
        )

    def made_option(self, wildcards: Wildcards, output: Any) -> str:
        """Where the output of commands goes, as an option."""
        return options(made=getattr(output, "made", None))

    def split_recordings(self, wildcards: Wildcards) -> list[str]:
        """The recordings of the split that the wildcards name."""
        return self.recordings(wildcards.corpus, wildcards.split)

    def unit_texts(self, wildcards: Wildcards) -> dict[str, str]:
        """The files of a corpus that is quantised already, and its dictionary."""
        corpus = block_of(self.config.corpora, wildcards.corpus, UnitsCorpus)
        book = block_of(self.config.codebooks, corpus.codebook, ExternalCodebook)
        return {**unit_texts(corpus), "dictionary": book.dictionary}

    def unit_options(self, wildcards: Wildcards, input: Any) -> str:
        """The files of lines as options."""
        texts = self.unit_texts(wildcards)
        read_beside = ("dictionary", "train_durations", "valid_durations", "test_durations")
        return options(**{name: input[name] for name in texts if name not in read_beside})

    def manifest(self, corpus: str, split: str) -> str:
        """The manifest of a split."""
        return MANIFEST.format(corpus=corpus, split=split)

    @cached_property
    def _listed(self) -> dict[str, ListedCorpus]:
        """Corpora whose files are here before any job starts."""
        return {
            name: block
            for name, block in self.config.corpora.items()
            if isinstance(block, ListedCorpus) and not _hub_folder(block)
        }

    @cached_property
    def _listing_files(self) -> dict[str, list[str]]:
        return {name: _listing_files(block) for name, block in self._listed.items()}

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        """By corpus, of its lists and of every recording in them."""
        return {
            name: fingerprint_of(
                [
                    *self._listing_files[name],
                    *(os.path.join(block.base, path) for path in _recordings_in(block)),
                ]
            )
            for name, block in self._listed.items()
        }

    @cached_property
    def _listed_recordings(self) -> dict[str, list[str]]:
        """Recordings of each corpus, read once for the jobs of all its shards."""
        return {name: _beside_listing(block) for name, block in self._listed.items()}

    def _hub(self) -> dict[str, ParquetCorpus]:
        """Data sets of the hub by their folders."""
        blocks = self.config.corpora.values()
        parquet = [block for block in blocks if isinstance(block, ParquetCorpus)]
        return {folder: block for block in parquet if (folder := block.hub_folder)}

    def _published(self, name: str) -> list[str]:
        return [f"resources/corpora/{name}/root/{folder}" for folder in self._folders(name)]

    def _folders(self, name: str) -> list[str]:
        """The folders of a published corpus that its splits are made of."""
        corpus = block_of(self.config.corpora, name, PublishedCorpus)
        all_folders = [source.folder for source in SOURCES[self.config.corpora[name].kind]]
        return corpus.folders or all_folders


def _cuts_silence(corpus: Corpus) -> bool:
    if isinstance(corpus, SpeechCommandsV2Corpus):
        return corpus.classes == 12
    return isinstance(corpus, SpeechCommandsCorpus)


def _hub_folder(corpus: Corpus) -> str | None:
    """The folder of a data set of the hub, which a job fetches."""
    return corpus.hub_folder if isinstance(corpus, ParquetCorpus) else None


def _has_commands(corpus: Corpus) -> bool:
    return isinstance(corpus, KaldiCorpus) and corpus.trust


def _listing_files(corpus: ListedCorpus) -> list[str]:
    """The files that list a corpus; the folder of its recordings if they cannot be read."""
    if isinstance(corpus, CsvCorpus):
        return [corpus.table]
    try:
        return listing_of(corpus).listing_files(corpus)
    except CorpusError:
        return [corpus.base]


def _recordings_in(corpus: ListedCorpus) -> list[str]:
    """The recordings of a corpus; none, if something is wrong with it, which its job says."""
    try:
        return listing_of(corpus).recording_files(corpus)
    except CorpusError:
        return []


def _beside_listing(corpus: ListedCorpus) -> list[str]:
    """The folder of the recordings; only what is listed, where results are in that folder too."""
    folder = Path(corpus.base)
    if not Path.cwd().is_relative_to(folder.resolve()):
        return [str(folder)]
    paths = map(PurePosixPath, _recordings_in(corpus))
    first = (path.parts[0] for path in paths if path.parts and not path.is_absolute())
    # No rule can name a path that Snakemake would replace; its recordings are read all the same.
    return [str(folder / name) for name in dict.fromkeys(first) if not REPLACED.search(name)]
