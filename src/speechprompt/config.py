"""The configuration: one strict, typed model, the only source of defaults and of accepted values.

A set-up is checked as a whole before any job starts: unknown keys, wrong types and combinations
that cannot work raise :class:`~speechprompt.errors.ConfigError` with the key's path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from speechprompt.errors import ConfigError

__all__ = ["Config", "load_config", "merge", "parse_config", "read_config"]

RESERVED_TASK_NAMES = ("manifests", "features", "codebooks", "units", "lm", "table")
NAME = r"^[A-Za-z0-9_-]+$"

Precision = Literal["fp32", "bf16", "auto"]
Schedule = Literal["constant", "inverse_sqrt", "cosine"]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(pattern=NAME)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Block(BaseModel):
    """A block of the configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Corpus(Block):
    """What all corpora share: the splits that training, selection and scoring use."""

    @property
    def dev_split(self) -> str:
        """The split that early stopping and every choice look at."""
        return "valid"

    @property
    def scored_splits(self) -> list[str]:
        """The splits that are scored once at the end; the last one gives the main metric."""
        return ["test"]

    @property
    def splits(self) -> list[str]:
        """All splits, training first."""
        return ["train", *dict.fromkeys([self.dev_split, *self.scored_splits])]


class SyntheticCorpus(Corpus):
    """Keyword spotting in the twelve Speech Commands classes, spoken by eSpeak NG."""

    kind: Literal["synthetic"] = "synthetic"
    task: Literal["keyword_spotting"] = Field("keyword_spotting", description="what is spoken")
    n_train: Count = Field(3600, description="training utterances")
    n_valid: Count = Field(600, description="validation utterances, voices of their own")
    n_test: Count = Field(1200, description="test utterances, voices of their own")


class CsvCorpus(Corpus):
    """Own recordings: a table with the columns path, split, optionally speaker, then labels."""

    kind: Literal["csv"] = "csv"
    table: str = Field(description="CSV or TSV file; its paths are relative to its folder")
    valid_fraction: Share = Field(
        0.1, description="share of train taken as valid where the table has no valid rows"
    )


class FsddCorpus(Corpus):
    """The Free Spoken Digit Dataset: digits by several speakers, label column `digit`."""

    kind: Literal["fsdd"] = "fsdd"
    root: str | None = Field(None, description="folder with the recordings; null downloads them")
    test_speaker: str | None = Field(
        None, description="speaker left out for test; null takes the official split"
    )
    valid_fraction: Share = Field(0.1, description="share of train taken as valid")


class UnitsCorpus(Corpus):
    """Already quantised text: `units <s> labels` or `file|units|labels` lines."""

    kind: Literal["units"] = "units"
    codebook: Name = Field(description="the external codebook the units belong to")
    train: str = Field(description="file of training lines")
    valid: str = Field(description="file of validation lines, scored once at the end")
    test: str | None = Field(None, description="file of test lines, scored once at the end")
    columns: list[str] = Field(["label"], description="names of the labels in a line, in order")
    label_names: list[str] | None = Field(
        None, description="names of the label indices; null keeps the numbers"
    )
    deduplicate: bool = Field(True, description="keep repeated training lines once")
    dev_fraction: Share = Field(
        0.1, description="share of train, by hash of the unit string, that all choices look at"
    )

    @property
    def dev_split(self) -> str:
        """A slice of train, so that valid stays unseen until it is scored."""
        return "dev" if self.dev_fraction else "valid"

    @property
    def scored_splits(self) -> list[str]:
        """Valid and, where a file is given, test."""
        return ["valid", "test"] if self.test else ["valid"]


AnyCorpus = Annotated[
    SyntheticCorpus | CsvCorpus | FsddCorpus | UnitsCorpus, Field(discriminator="kind")
]


class Encoder(Block):
    """What all encoders share."""

    sample_corpora: list[Name] = Field(
        description="corpora whose train split gives the frames that codebooks are fitted on"
    )
    sample_frames: Count = Field(200_000, description="frames in that sample")


class MfccEncoder(Encoder):
    """MFCC with deltas: 39 dimensions, 50 frames/s; needs no weights."""

    kind: Literal["mfcc"] = "mfcc"
    cmvn: bool = Field(True, description="normalise mean and variance over each utterance")


class HubertEncoder(Encoder):
    """HuBERT of any size: the output of one transformer layer, 50 frames/s."""

    kind: Literal["hubert"] = "hubert"
    weights: str = Field(description="safetensors file with weights and architecture")
    layer: Count = Field(6, description="transformer layer whose output is taken, from 1")
    batch_seconds: float = Field(40.0, gt=0, description="audio in one batch, seconds")


AnyEncoder = Annotated[MfccEncoder | HubertEncoder, Field(discriminator="kind")]


class KmeansCodebook(Block):
    """A k-means codebook fitted on the encoder's sample of frames."""

    kind: Literal["kmeans"] = "kmeans"
    encoder: Name = Field(description="name under `encoders`")
    n_units: Annotated[int, Field(ge=2, le=32767)] = Field(100, description="centroids K")
    deduplicate: bool = Field(True, description="collapse repeated units (the paper does)")


class ExternalCodebook(Block):
    """The codebook behind already quantised units: known only by its dictionary."""

    kind: Literal["external"] = "external"
    dictionary: str = Field(description="the unit LM's dict.txt that lists the units")


AnyCodebook = Annotated[KmeansCodebook | ExternalCodebook, Field(discriminator="kind")]


def _codebook_kind(value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" not in value:
        return {"kind": "kmeans", **value}
    return value


class UnitLmSettings(Block):
    """A unit LM pre-trained on the train units of its corpora: no label, no other split."""

    codebook: Name = Field(description="name under `codebooks`")
    corpora: list[Name] = Field(min_length=1, description="corpora whose train units it reads")
    layers: Count = Field(4, description="transformer layers")
    heads: Count = Field(4, description="attention heads")
    dim: Count = Field(256, description="width of the model")
    ffn: Count = Field(1024, description="width of the feed-forward layers")
    max_positions: Count = Field(3072, description="longest sequence, in units")
    dropout: Share = Field(0.1, description="dropout while pre-training")
    lr: Positive = Field(2e-3, description="peak learning rate of AdamW")
    weight_decay: NotNegative = Field(0.01, description="weight decay of AdamW")
    schedule: Schedule = Field("cosine", description="of the learning rate")
    warmup: int = Field(100, ge=0, description="updates until the peak learning rate")
    batch_tokens: Count = Field(2048, description="units in one update")
    max_epochs: Count = Field(12, description="most passes over the train units")
    patience: Count = Field(3, description="epochs without a better held-out loss before stopping")
    precision: Precision = Field("auto", description="bf16 where the processor multiplies in it")


class PromptSettings(Block):
    """The trained prompt."""

    mode: Literal["deep", "input", "both", "infix"] = Field(
        "deep", description="rows in every layer, at the input, both, or at the separator"
    )
    length: Count = Field(20, description="prompt rows, per layer with deep rows")
    layers: list[int] | None = Field(
        None, description="layers with deep rows, from 0; null is every layer"
    )
    dropout: Share = Field(0.1, description="dropout on the prompt rows")


class TrainingSettings(Block):
    """Training of the prompt, or of the whole LM with `method: finetune`."""

    lr: Positive = Field(0.02, description="peak learning rate of Adam; whole LMs want less")
    weight_decay: NotNegative = Field(0.0, description="weight decay; above 0 it is AdamW")
    clip: NotNegative = Field(1.0, description="largest norm of the gradient; 0 is no limit")
    schedule: Schedule = Field("cosine", description="of the learning rate")
    warmup: int = Field(100, ge=0, description="updates until the peak learning rate")
    batch_size: Count = Field(32, description="utterances in one update")
    micro_tokens: Count = Field(
        2048, description="units computed at once: less takes less memory, more accumulation"
    )
    epoch_size: Count | None = Field(
        None, description="utterances drawn per epoch; null is as many as there are"
    )
    max_epochs: Count = Field(20, description="most passes over train")
    patience: Count = Field(8, description="epochs without a better dev loss before stopping")
    precision: Precision = Field("auto", description="of the LM; prompt and loss are fp32")


class Task(Block):
    """A task: a corpus, what to predict, and how."""

    corpus: Name = Field(description="name under `corpora`")
    lm: Name = Field(description="name under `lm`")
    type: Literal["classification"] = Field("classification", description="form of the answer")
    labels: list[str] = Field(["label"], min_length=1, description="label columns, in order")
    method: Literal["prompt", "finetune"] = Field(
        "prompt", description="train a prompt, or the whole LM without one (FT-LM)"
    )
    balance: bool = Field(False, description="sample the classes of train equally often")
    verbalizer: Literal["frequency", "random", "learnable"] = Field(
        "frequency", description="how labels get their units"
    )
    prompt: PromptSettings = PromptSettings()
    training: TrainingSettings = TrainingSettings()

    @property
    def score_file(self) -> str:
        """Name of the one-line score."""
        return "acc.txt"


class Config(Block):
    """A complete set-up."""

    seed: Seed = Field(1, description="fixes corpora, samples, codebooks and unit LMs")
    seeds: list[Seed] = Field([1], min_length=1, description="prompt trainings, one per seed")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU if any")
    compute_threads: Count = Field(2, description="threads of one job's numeric libraries")
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
            if len(set(task.labels)) != len(task.labels):
                raise ValueError(f"tasks.{name}.labels: a column is named twice: {task.labels}")
            if task.verbalizer == "learnable" and len(task.labels) > 1:
                raise ValueError(
                    f"tasks.{name}.verbalizer: learnable works for one label column, found "
                    f"{len(task.labels)}; use frequency or random"
                )
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


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``override``'s keys laid over it, block by block."""
    result = dict(base)
    for key, value in override.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


def parse_config(values: Mapping[str, Any]) -> Config:
    """Check a nested mapping and return the typed configuration.

    Raises:
        ConfigError: with one line per wrong key: path, what was found, what is accepted.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(entry) for entry in error.errors()]
        raise ConfigError("the configuration is wrong:\n  " + "\n  ".join(lines)) from None


def load_config(values: Mapping[str, Any], default: str | Path, complete: bool) -> Config:
    """Check the set-up of a run.

    Args:
        values: what ``--configfile`` and ``--config`` gave.
        default: the configuration that ``values`` are laid over, unless they are complete.
        complete: ``values`` come from a ``--configfile``, a set-up of its own.

    Raises:
        ConfigError: a key is wrong, or a file that the set-up starts from does not exist.
    """
    config = parse_config(values if complete else merge(read_config(default), values))
    for name, corpus in config.corpora.items():
        for key in ("table", "root", "train", "valid", "test"):
            _check_exists(f"corpora.{name}.{key}", getattr(corpus, key, None))
    for name, book in config.codebooks.items():
        _check_exists(f"codebooks.{name}.dictionary", getattr(book, "dictionary", None))
    for name, encoder in config.encoders.items():
        _check_exists(f"encoders.{name}.weights", getattr(encoder, "weights", None))
    return config


def _check_exists(key: str, path: str | None) -> None:
    if isinstance(path, str) and not Path(path).exists():
        raise ConfigError(f"{key}: no such file or folder: {path} (from {Path.cwd()})")


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a YAML file as a mapping.

    Raises:
        ConfigError: not readable, not YAML, or not a mapping.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


def _explain(entry: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors."""
    # Pydantic names the chosen member of a union in the path; it is no key of the file.
    kinds = {"synthetic", "csv", "fsdd", "units", "mfcc", "hubert", "kmeans", "external"}
    location = [str(part) for part in entry["loc"]]
    parts = [p for i, p in enumerate(location) if not (i == 2 and p in kinds)]
    path = ".".join(part for part in parts if part != "[key]")
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "extra_forbidden":
        accepted = ", ".join(_accepted_keys(location))
        return f"{path}: unknown key; accepted here: {accepted}"
    if entry["type"] == "string_pattern_mismatch":
        return f"{path}: a name has only letters, digits, '-' and '_', found {entry['input']!r}"
    if entry["type"] in ("value_error", "missing", "union_tag_not_found"):
        return f"{path}: {message}" if path else message
    return f"{path}: {message}, found {entry['input']!r}"


def _accepted_keys(location: list[str]) -> list[str]:
    """Keys accepted in the block that holds the last element of ``location``."""
    schema = Config.model_json_schema()
    node: dict[str, Any] = schema
    for part in location[:-1]:
        node = _descend(schema, node, part)
    return sorted(_resolve(schema, node).get("properties", {}))


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][re.sub(r"^#/\$defs/", "", node["$ref"])]
    return node


def _descend(schema: dict[str, Any], node: dict[str, Any], part: str) -> dict[str, Any]:
    node = _resolve(schema, node)
    mapping = node.get("discriminator", {}).get("mapping", {})
    if part in mapping:
        return {"$ref": mapping[part]}
    by_name = next(iter(node.get("patternProperties", {}).values()), {})
    return node.get("properties", {}).get(part) or by_name
