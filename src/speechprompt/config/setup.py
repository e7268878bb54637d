"""The set-up as a whole: its blocks, and checks that they fit together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from speechprompt.config.corpora import AnyCorpus, SyntheticCorpus, UnitsCorpus
from speechprompt.config.encoders import AnyEncoder, MfccEncoder
from speechprompt.config.fields import Block, Count, Name, Seed, Share
from speechprompt.config.iterations import check_encoders
from speechprompt.config.models import (
    AnyCodebook,
    AnyUnitLm,
    ExternalCodebook,
    KmeansCodebook,
    UnitLmSettings,
)
from speechprompt.config.quality import QualitySettings
from speechprompt.config.references import all_behind, require
from speechprompt.config.sweep import SweepPoint, SweepSettings
from speechprompt.config.tasks import Task
from speechprompt.errors import nearest

__all__ = ["RESERVED_TASK_NAMES", "Config", "check_labels", "check_speakers"]

RESERVED_TASK_NAMES = (
    *("manifests", "encoders", "features", "codebooks", "units", "lm", "table"),
    *("alignments", "quality", "sweep", "overview"),
)

# The kind of a block that does not say it by `kind`, `checkpoint` or `weights`.
DEFAULT_KINDS = {"codebooks": "kmeans", "lm": "pretrained"}


def _with_kind(block: Any, default: str) -> Any:
    if isinstance(block, Mapping) and "kind" not in block:
        kinds = {"checkpoint": "imported", "weights": "given"}
        found = (kind for key, kind in kinds.items() if key in block)
        return {"kind": next(found, default), **block}
    return block


class Config(Block):
    """A complete set-up."""

    seed: Seed = Field(1, description="fixes corpora, samples, codebooks and unit LMs")
    seeds: list[Seed] = Field([1], min_length=1, description="prompt trainings, one per seed")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes this machine's GPUs if any, and is cpu on a cluster"
    )
    jobs_per_gpu: Count = Field(1, description="jobs that share one GPU in local runs")
    compute_threads: Count = Field(2, description="threads of one job's numeric libraries")
    lm_threads: Count | None = Field(
        None,
        description="threads that pre-train encoders and unit LMs, or that read an encoder's "
        "recordings while a GPU pre-trains it; null is `compute_threads`",
    )
    shards: Annotated[int, Field(ge=1, le=1000)] = Field(
        2, description="shards per split for features and units"
    )
    keep_features: bool = Field(False, description="keep the features after quantisation")
    max_rejected: Share = Field(0.01, description="share of unreadable recordings tolerated")
    max_repeated: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of valid, and of test, that may have the same samples as recordings of "
        "an earlier split, or the same units as utterances of train; there is a warning in any "
        "case",
    )
    corpora: dict[Name, AnyCorpus] = Field({}, description="corpora by name")
    encoders: dict[Name, AnyEncoder] = Field({}, description="encoders by name")
    codebooks: dict[Name, AnyCodebook] = Field({}, description="codebooks by name")
    lm: dict[Name, AnyUnitLm] = Field({}, description="unit LMs by name")
    tasks: dict[Name, Task] = Field({}, description="tasks by name, which is the results folder")
    quality: QualitySettings | None = Field(
        None, description="units to measure against phones; null measures none"
    )

    sweep: SweepSettings | None = Field(
        None, description="settings to vary in one task; null varies none"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        filled = {
            key: {name: _with_kind(block, default) for name, block in value[key].items()}
            for key, default in DEFAULT_KINDS.items()
            if isinstance(value.get(key), Mapping)
        }
        return {**value, **filled}

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        for name, encoder in self.encoders.items():
            for sampled in encoder.sample_corpora:
                self._require_audio(f"encoders.{name}.sample_corpora", sampled)
            if (pretraining := getattr(encoder, "pretraining", None)) is not None:
                for field in ("corpora", "target_corpora"):
                    for heard in getattr(pretraining, field):
                        self._require_audio(f"encoders.{name}.pretraining.{field}", heard)
        check_encoders(self.encoders, self.codebooks)
        for name, book in self.codebooks.items():
            if isinstance(book, ExternalCodebook):
                continue
            require(f"codebooks.{name}.encoder", book.encoder, self.encoders)
            if isinstance(book, KmeansCodebook) and not self.encoders[book.encoder].sample_corpora:
                raise ValueError(
                    f"encoders.{book.encoder}.sample_corpora: codebook {name!r} is fitted on the "
                    "encoder's frames; name the corpora that they come from"
                )
        for name, corpus in self.corpora.items():
            if isinstance(corpus, UnitsCorpus):
                key = f"corpora.{name}.codebook"
                require(key, corpus.codebook, self.codebooks)
                if not isinstance(self.codebooks[corpus.codebook], ExternalCodebook):
                    raise ValueError(f"{key}: {corpus.codebook!r} must be of kind external")
        for name, lm in self.lm.items():
            require(f"lm.{name}.codebook", lm.codebook, self.codebooks)
            if not isinstance(lm, UnitLmSettings):
                continue
            for read in lm.corpora:
                self._require_units(f"lm.{name}.corpora", read, lm.codebook)
            if lm.dim % (2 * lm.heads):
                raise ValueError(
                    f"lm.{name}.dim: must be a multiple of 2 x heads ({2 * lm.heads}), "
                    f"found {lm.dim}"
                )
            self._check_start(name, lm)
        for name, task in self.tasks.items():
            if name in RESERVED_TASK_NAMES:
                raise ValueError(
                    f"tasks.{name}: a task names its results folder, and results/{name} is taken; "
                    f"not allowed: {', '.join(RESERVED_TASK_NAMES)}"
                )
            require(f"tasks.{name}.lm", task.lm, self.lm)
            self._require_units(f"tasks.{name}.corpus", task.corpus, self.lm[task.lm].codebook)
            if (known := self.corpora[task.corpus].label_columns) is not None:
                check_labels(name, task.labels, task.corpus, known)
            if task.crossvalidate:
                self._check_crossvalidation(name, task)
            if task.acoustic_baselines:
                self._require_recordings(f"tasks.{name}.acoustic_baselines", task)
            if task.robustness:
                self._require_recordings(f"tasks.{name}.robustness", task)
            if "downstream" in task.methods:
                self._check_downstream(name, task)
        if self.quality is not None:
            self._check_quality(self.quality)
        if self.sweep is not None:
            self._check_sweep(self.sweep)
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: a seed stands twice in {self.seeds}")
        return self

    def _check_start(self, name: str, lm: UnitLmSettings) -> None:
        """Check that a unit LM goes on from one of its codebook, and not from itself."""
        passed = [name]
        while lm.start is not None:
            key = f"lm.{passed[-1]}.start"
            require(key, lm.start, self.lm)
            if lm.start in passed:
                raise ValueError(f"{key}: unit LM {lm.start!r} would go on from itself")
            passed.append(lm.start)
            other = self.lm[lm.start]
            if other.codebook != lm.codebook:
                raise ValueError(
                    f"{key}: {lm.start!r} reads codebook {other.codebook!r}, not {lm.codebook!r}"
                )
            if not isinstance(other, UnitLmSettings):
                break
            lm = other

    def _require_recordings(self, key: str, task: Task) -> str:
        """Check that a task's corpus has recordings; the encoder of its units."""
        book = self.codebooks[self.lm[task.lm].codebook]
        if isinstance(book, ExternalCodebook):
            raise ValueError(
                f"{key}: this learns from audio, and corpus {task.corpus!r} holds units only"
            )
        return book.encoder

    def _check_downstream(self, name: str, task: Task) -> None:
        """Check that there is audio, and that its mean over time tells utterances apart."""
        key = f"tasks.{name}.{'method' if task.method == 'downstream' else 'compare'}"
        behind = self._require_recordings(key, task)
        encoder = self.encoders[behind]
        linear = task.type == "classification" and not task.downstream.normalize
        if linear and isinstance(encoder, MfccEncoder) and encoder.cmvn:
            raise ValueError(
                f"{key}: downstream classifies by the mean over time, and encoder {behind!r} "
                f"takes it to 0 in every utterance; set tasks.{name}.downstream.normalize: true, "
                "or cmvn: false in the encoder"
            )

    def _check_crossvalidation(self, name: str, task: Task) -> None:
        """Check that there are speakers, and that nothing before the prompt learns from them."""
        key, corpus = f"tasks.{name}.crossvalidate", self.corpora[task.corpus]
        if isinstance(corpus, UnitsCorpus):
            raise ValueError(f"{key}: {task.corpus!r} holds units, which have splits of their own")
        check_speakers(key, task.corpus, corpus.label_columns)
        for where, heard in self._learnt_from(task.lm):
            if heard == task.corpus:
                raise ValueError(
                    f"{key}: speakers of test would be in {where}, which has {heard!r}, too; "
                    "take other corpora there, or models that exist"
                )

    def _learnt_from(self, lm: str) -> Iterator[tuple[str, str]]:
        """Keys and corpora that a unit LM and all that is behind it learn from."""
        for section, name, block in all_behind(self, "lm", lm):
            learnt = {f"{section}.{name}.corpora": getattr(block, "corpora", [])}
            if isinstance(block, KmeansCodebook):
                sampled = self.encoders[block.encoder].sample_corpora
                learnt = {f"encoders.{block.encoder}.sample_corpora": sampled}
            if (pretraining := getattr(block, "pretraining", None)) is not None:
                for field in ("corpora", "target_corpora"):
                    learnt[f"encoders.{name}.pretraining.{field}"] = getattr(pretraining, field)
            yield from ((key, corpus) for key, corpora in learnt.items() for corpus in corpora)

    def _check_quality(self, quality: QualitySettings) -> None:
        require("quality.corpus", quality.corpus, self.corpora)
        corpus = self.corpora[quality.corpus]
        if not isinstance(corpus, SyntheticCorpus):
            raise ValueError(
                f"quality.corpus: only of synthetic speech the phones are known, and "
                f"{quality.corpus!r} is of kind {corpus.kind}"
            )
        for name in quality.codebooks:
            require("quality.codebooks", name, self.codebooks)
            if isinstance(self.codebooks[name], ExternalCodebook):
                raise ValueError(
                    f"quality.codebooks: {name!r} is external, so that no audio can be quantised"
                )
        if len(set(quality.codebooks)) != len(quality.codebooks):
            raise ValueError(f"quality.codebooks: one stands twice in {quality.codebooks}")

    def sweep_points(self) -> list[SweepPoint]:
        """Settings of every training of the sweep; none without one."""
        return self.sweep.points(self.tasks[self.sweep.task]) if self.sweep else []

    def _check_sweep(self, sweep: SweepSettings) -> None:
        require("sweep.task", sweep.task, self.tasks)
        task = self.tasks[sweep.task]
        if task.crossvalidate:
            raise ValueError(
                f"sweep.task: {sweep.task!r} is cross-validated; sweep a task without crossvalidate"
            )
        for point in self.sweep_points():
            require("sweep.spaces: lm", point.lm, self.lm)
            self._require_units("sweep.spaces: lm", task.corpus, self.lm[point.lm].codebook)
            try:
                point.task(task)
            except ValidationError as error:
                reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"sweep.spaces: {point._asdict()}: {reason}") from None

    def _require_audio(self, key: str, corpus: str) -> None:
        require(key, corpus, self.corpora)
        if isinstance(self.corpora[corpus], UnitsCorpus):
            raise ValueError(f"{key}: {corpus!r} holds units, not audio")

    def _require_units(self, key: str, corpus: str, codebook: str) -> None:
        """Check that a corpus can be read as units of a codebook."""
        require(key, corpus, self.corpora)
        block = self.corpora[corpus]
        if isinstance(block, UnitsCorpus):
            if block.codebook != codebook:
                raise ValueError(
                    f"{key}: {corpus!r} has units of codebook {block.codebook!r}, "
                    f"the unit LM reads {codebook!r}"
                )
        elif isinstance(self.codebooks[codebook], ExternalCodebook):
            raise ValueError(f"{key}: {corpus!r} is audio, codebook {codebook!r} is external")


def check_labels(task: str, labels: Sequence[str], corpus: str, known: Sequence[str]) -> None:
    """Refuse a label column that the corpus does not have.

    Raises:
        ValueError: naming the column and those that there are.
    """
    if missing := [name for name in labels if name not in known]:
        raise ValueError(
            f"tasks.{task}.labels: corpus {corpus!r} has no label column {missing[0]!r}; "
            f"it has: {', '.join(known)}{nearest(missing[0], known)}"
        )


def check_speakers(key: str, corpus: str, known: Sequence[str] | None) -> None:
    """Refuse to divide a corpus by speakers that it does not name.

    Args:
        key: key of the cross-validation.
        corpus: name of the corpus.
        known: columns of the corpus, if they are known.

    Raises:
        ValueError: naming the key and the columns that there are.
    """
    if known is not None and "speaker" not in known:
        raise ValueError(
            f"{key}: corpus {corpus!r} has no column 'speaker'; it has: {', '.join(known)}"
        )
