"""Corpora in the plan: where recordings come from, and what their manifests are made of."""

from __future__ import annotations

import shlex
from collections.abc import ItemsView
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechprompt.config import Config
from speechprompt.config.corpora import AnyCorpus, CsvCorpus, PublishedCorpus, UnitsCorpus
from speechprompt.config.models import ExternalCodebook
from speechprompt.config.values import block_to_json
from speechprompt.workflow.blocks import block_of
from speechprompt.workflow.paths import MANIFEST, Wildcards, one_of

__all__ = ["Corpora"]


@dataclass(frozen=True)
class Corpora:
    """What the rules of corpora ask for."""

    config: Config

    def of_kind(self, *kinds: str) -> str:
        """Constraint: the corpora of some kinds."""
        return one_of(name for name, block in self._blocks() if block.kind in kinds)

    def with_audio(self) -> str:
        """Constraint: the corpora that hold recordings, not units."""
        return one_of(name for name, block in self._blocks() if block.kind != "units")

    def published(self) -> str:
        """Constraint: the corpora that are downloaded, or linked to where the user has them."""
        return one_of(n for n, block in self._blocks() if isinstance(block, PublishedCorpus))

    def settings(self, wildcards: Wildcards) -> str:
        """A corpus's block; where a published one is copied from does not matter to its rows."""
        return block_to_json(self.config.corpora[wildcards.corpus], {"root"})

    def listing(self, wildcards: Wildcards) -> str:
        """The file that lists a corpus's recordings, or says that they are there."""
        corpus = self.config.corpora[wildcards.corpus]
        if isinstance(corpus, CsvCorpus):
            return corpus.table
        name = "corpus.csv" if corpus.kind == "synthetic" else "corpus.json"
        return f"resources/corpora/{wildcards.corpus}/{name}"

    def root(self, wildcards: Wildcards, input: Any) -> str:
        """The folder that the paths of a corpus's manifests start from."""
        folder = Path(input.listed).parent
        is_fsdd = self.config.corpora[wildcards.corpus].kind == "fsdd"
        return str(folder / "recordings" if is_fsdd else folder)

    def source(self, wildcards: Wildcards) -> str:
        """Options that say what is downloaded, or where a copy is."""
        corpus = block_of(self.config.corpora, wildcards.corpus, PublishedCorpus)
        words = ["--kind", self.config.corpora[wildcards.corpus].kind]
        words += ["--root", corpus.root] if corpus.root else []
        words += ["--folders", *corpus.folders] if corpus.folders else []
        return shlex.join(words)

    def unit_texts(self, wildcards: Wildcards) -> dict[str, str]:
        """The files of a corpus that is quantised already, and its dictionary."""
        corpus = block_of(self.config.corpora, wildcards.corpus, UnitsCorpus)
        book = block_of(self.config.codebooks, corpus.codebook, ExternalCodebook)
        files = {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}
        files["dictionary"] = book.dictionary
        return {name: path for name, path in files.items() if path}

    def unit_options(self, wildcards: Wildcards, input: Any) -> str:
        """The files of lines as options."""
        splits = [name for name in self.unit_texts(wildcards) if name != "dictionary"]
        return " ".join(f"--{split} {shlex.quote(str(input[split]))}" for split in splits)

    def manifest(self, corpus: str, split: str) -> str:
        """The manifest of a split."""
        return MANIFEST.format(corpus=corpus, split=split)

    def scored_splits(self, corpus: str) -> list[str]:
        """Splits that are scored once at the end, the main one last."""
        return self.config.corpora[corpus].scored_splits

    def dev_split(self, corpus: str) -> str:
        """The split that early stopping and every choice look at."""
        return self.config.corpora[corpus].dev_split

    def _blocks(self) -> ItemsView[str, AnyCorpus]:
        return self.config.corpora.items()
