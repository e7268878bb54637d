"""Features, codebooks and units in the plan: the parts of splits, and what each is made of."""

from dataclasses import dataclass
from typing import Any

from speechprompt.config import Config
from speechprompt.config.models import ExternalCodebook, KmeansCodebook
from speechprompt.workflow.blocks import block_of, encoder_behind
from speechprompt.workflow.corpora import Corpora
from speechprompt.workflow.paths import (
    CODEBOOK,
    FEATURES,
    PART,
    UNITS,
    Wildcards,
    one_of,
    options,
    part_files,
)

__all__ = ["Units"]


@dataclass(frozen=True)
class Units:
    """What the rules from features to units ask for."""

    config: Config
    corpora: Corpora

    def sampled_features(self, wildcards: Wildcards) -> list[str]:
        """Features of the train splits that an encoder's sample of frames is drawn from."""
        encoder = wildcards.encoder
        return [
            path
            for corpus in self.config.encoders[encoder].sample_corpora
            for path in part_files(
                FEATURES.format(encoder=encoder, corpus=corpus, split="train"),
                self._n_parts(corpus),
            )
        ]

    def sample_size(self, wildcards: Wildcards) -> int:
        """Frames in that sample."""
        return self.config.encoders[wildcards.encoder].sample_frames

    def sample(self, wildcards: Wildcards) -> str:
        """The sample that a codebook is fitted on."""
        encoder = encoder_behind(self.config, wildcards.codebook)
        return f"results/features/{encoder}/sample.parquet"

    def size(self, wildcards: Wildcards) -> int:
        """Number of a codebook's units."""
        return block_of(self.config.codebooks, wildcards.codebook, KmeansCodebook).n_units

    def seed(self, wildcards: Wildcards) -> int:
        """Seed of a codebook's fit."""
        seed = block_of(self.config.codebooks, wildcards.codebook, KmeansCodebook).seed
        return self.config.seed if seed is None else seed

    def features(self, wildcards: Wildcards) -> str:
        """The part of the features that becomes a part of the units."""
        encoder = encoder_behind(self.config, wildcards.codebook)
        folder = FEATURES.format(encoder=encoder, corpus=wildcards.corpus, split=wildcards.split)
        return f"{folder}/{PART.format(part=wildcards.part, parts=wildcards.parts)}"

    def deduplicate(self, wildcards: Wildcards) -> bool:
        """Whether repeated units are collapsed."""
        book = self.config.codebooks[wildcards.codebook]
        return not isinstance(book, ExternalCodebook) and book.deduplicate

    def parts(self, codebook: str, corpus: str, split: str) -> list[str]:
        """The parts of a split."""
        folder = UNITS.format(codebook=codebook, corpus=corpus, split=split)
        return part_files(folder, self._n_parts(corpus))

    def parts_of(self, wildcards: Wildcards) -> list[str]:
        """The parts of the split that the wildcards name."""
        return self.parts(wildcards.codebook, wildcards.corpus, wildcards.split)

    def index(self, codebook: str, corpus: str, split: str) -> str:
        """The index of a split, by which its parts are read."""
        return f"{UNITS.format(codebook=codebook, corpus=corpus, split=split)}/index.json"

    def train_parts(self, wildcards: Wildcards) -> list[str]:
        """The parts of a corpus's train split."""
        return self.parts(wildcards.codebook, wildcards.corpus, "train")

    def train_units(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """The units of train, which those of another split are compared with."""
        if wildcards.split == "train":
            return {"train": [], "train_parts": []}
        index = self.index(wildcards.codebook, wildcards.corpus, "train")
        return {"train": [index], "train_parts": self.train_parts(wildcards)}

    def manifest(self, wildcards: Wildcards) -> list[str]:
        """The manifest of a split; units that were there already have none."""
        if self.config.corpora[wildcards.corpus].kind == "units":
            return []
        return [self.corpora.manifest(wildcards.corpus, wildcards.split)]

    def manifest_option(self, wildcards: Wildcards, input: Any) -> str:
        """The manifest as an option."""
        return options(manifest=input.manifest)

    def train_option(self, wildcards: Wildcards, input: Any) -> str:
        """Train, and how much a split may have in common with it, as options."""
        limit = f"{self.config.max_repeated:g}" if input.train else None
        return options(train=input.train, max_repeated=limit)

    def source(self, codebook: str) -> str:
        """What a codebook is hashed from."""
        book = self.config.codebooks[codebook]
        if isinstance(book, ExternalCodebook):
            return book.dictionary
        return CODEBOOK.format(codebook=codebook)

    def measured(self) -> str:
        """Constraint: the codebooks whose units are measured."""
        return one_of(self._measured())

    def qualities(self) -> list[str]:
        """The measures of each of them, in the configured order."""
        return [f"results/quality/{codebook}.json" for codebook in self._measured()]

    def quality_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """Units of a codebook, and the phones that they are measured by."""
        quality = self.config.quality
        assert quality is not None  # without it no codebook is measured
        split = (wildcards.codebook, quality.corpus, quality.split)
        return {
            "index": self.index(*split),
            "parts": self.parts(*split),
            "alignments": f"results/alignments/{quality.corpus}/{quality.split}.parquet",
        }

    def _measured(self) -> list[str]:
        return self.config.quality.codebooks if self.config.quality else []

    def _n_parts(self, corpus: str) -> int:
        whole = self.config.corpora[corpus].kind in ("units", "fold")
        return 1 if whole else self.config.shards
