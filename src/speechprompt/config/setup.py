"""The set-up as a whole: its blocks, and that they fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from speechprompt.config.corpora import AnyCorpus, UnitsCorpus
from speechprompt.config.fields import Block, Count, Name, Seed, Share
from speechprompt.config.models import (
    AnyCodebook,
    AnyEncoder,
    ExternalCodebook,
    KmeansCodebook,
    UnitLmSettings,
)
from speechprompt.config.tasks import Task

__all__ = ["Config"]

RESERVED_TASK_NAMES = ("manifests", "features", "codebooks", "units", "lm", "table")


def _codebook_kind(value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" not in value:
        return {"kind": "kmeans", **value}
    return value


class Config(Block):
    """A complete set-up."""

    seed: Seed = Field(1, description="fixes corpora, samples, codebooks and unit LMs")
    seeds: list[Seed] = Field([1], min_length=1, description="prompt trainings, one per seed")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU if any")
    compute_threads: Count = Field(2, description="threads of one job's numeric libraries")
    lm_threads: Count | None = Field(
        None, description="threads of a unit LM's pre-training; null is `compute_threads`"
    )
    shards: Count = Field(2, description="shards per split for features and units")
    keep_features: bool = Field(False, description="keep the features after quantisation")
    max_rejected: Share = Field(0.01, description="share of unreadable recordings tolerated")
    corpora: dict[Name, AnyCorpus] = Field({}, description="corpora by name")
    encoders: dict[Name, AnyEncoder] = Field({}, description="encoders by name")
    codebooks: dict[Name, AnyCodebook] = Field({}, description="codebooks by name")
    lm: dict[Name, UnitLmSettings] = Field({}, description="unit LMs by name")
    tasks: dict[Name, Task] = Field({}, description="tasks by name, which is the results folder")

    @model_validator(mode="before")
    @classmethod
    def _default_codebook_kind(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(value.get("codebooks"), Mapping):
            books = {name: _codebook_kind(book) for name, book in value["codebooks"].items()}
            return {**value, "codebooks": books}
        return value

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        for name, encoder in self.encoders.items():
            for corpus in encoder.sample_corpora:
                self._require_audio(f"encoders.{name}.sample_corpora", corpus)
        for name, book in self.codebooks.items():
            if isinstance(book, KmeansCodebook):
                _require(f"codebooks.{name}.encoder", book.encoder, self.encoders)
        for name, corpus in self.corpora.items():
            if isinstance(corpus, UnitsCorpus):
                key = f"corpora.{name}.codebook"
                _require(key, corpus.codebook, self.codebooks)
                if not isinstance(self.codebooks[corpus.codebook], ExternalCodebook):
                    raise ValueError(f"{key}: {corpus.codebook!r} must be of kind external")
        for name, lm in self.lm.items():
            _require(f"lm.{name}.codebook", lm.codebook, self.codebooks)
            for corpus in lm.corpora:
                self._require_units(f"lm.{name}.corpora", corpus, lm.codebook)
            if lm.dim % (2 * lm.heads):
                raise ValueError(
                    f"lm.{name}.dim: must be a multiple of 2 x heads ({2 * lm.heads}), "
                    f"found {lm.dim}"
                )
        for name, task in self.tasks.items():
            if name in RESERVED_TASK_NAMES:
                raise ValueError(
                    f"tasks.{name}: a task names its results folder, and results/{name} is taken; "
                    f"not allowed: {', '.join(RESERVED_TASK_NAMES)}"
                )
            _require(f"tasks.{name}.lm", task.lm, self.lm)
            self._require_units(f"tasks.{name}.corpus", task.corpus, self.lm[task.lm].codebook)
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: a seed stands twice in {self.seeds}")
        return self

    def _require_audio(self, key: str, corpus: str) -> None:
        _require(key, corpus, self.corpora)
        if isinstance(self.corpora[corpus], UnitsCorpus):
            raise ValueError(f"{key}: {corpus!r} holds units, not audio")

    def _require_units(self, key: str, corpus: str, codebook: str) -> None:
        """A corpus is read through one codebook: audio through k-means, units through their own."""
        _require(key, corpus, self.corpora)
        block = self.corpora[corpus]
        if isinstance(block, UnitsCorpus):
            if block.codebook != codebook:
                raise ValueError(
                    f"{key}: {corpus!r} has units of codebook {block.codebook!r}, "
                    f"the unit LM reads {codebook!r}"
                )
        elif isinstance(self.codebooks[codebook], ExternalCodebook):
            raise ValueError(f"{key}: {corpus!r} is audio, codebook {codebook!r} is external")


def _require(key: str, name: str, table: Mapping[str, Any]) -> None:
    if name not in table:
        known = ", ".join(sorted(table)) or "none is configured"
        raise ValueError(f"{key}: {name!r} is not known; known: {known}")
