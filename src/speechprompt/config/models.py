"""Codebooks and unit LMs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from speechprompt.config.encoders import FromHub, Imported
from speechprompt.config.fields import Block, Count, Name, Positive, Seed, Share
from speechprompt.config.training import (
    LearningRate,
    MaxEpochs,
    MicroTokens,
    PretrainingSettings,
)

__all__ = [
    "AnyCodebook",
    "AnyUnitLm",
    "ExternalCodebook",
    "KmeansCodebook",
    "PretrainingTaskSettings",
    "UnitLmSettings",
]


class KmeansCodebook(Block):
    """A k-means codebook fitted on the encoder's sample of frames."""

    kind: Literal["kmeans"] = "kmeans"
    encoder: Name = Field(description="name under `encoders`")
    n_units: Annotated[int, Field(ge=2, le=32767)] = Field(100, description="centroids K")
    seed: Seed | None = Field(
        None,
        description="seed of the fit; null is that of the set-up. Codebooks of other seeds "
        "can be better or worse by some points",
    )
    deduplicate: bool = Field(True, description="collapse repeated units (the paper does)")


class ImportedCodebook(Imported):
    """A scikit-learn k-means model, as published beside GSLM (km.bin)."""

    kind: Literal["imported"] = "imported"
    encoder: Name = Field(description="name under `encoders`: the one that it was fitted on")
    checkpoint: str = Field(description=Imported.model_fields["checkpoint"].description)
    deduplicate: bool = Field(True, description="collapse repeated units (the paper does)")


class GivenCodebook(Block):
    """A codebook that is there: shipped with the package, or of another set-up."""

    kind: Literal["given"] = "given"
    encoder: Name = Field(description="name under `encoders`: the one that it was fitted on")
    weights: str = Field(description="shipped codebook by its name, or the path of a file")
    deduplicate: bool = Field(True, description="collapse repeated units (the paper does)")


class ExternalCodebook(Block):
    """The codebook behind already quantised units: known only by its dictionary."""

    kind: Literal["external"] = "external"
    dictionary: str = Field(description="the unit LM's dict.txt that lists the units")


AnyCodebook = Annotated[
    KmeansCodebook | ImportedCodebook | GivenCodebook | ExternalCodebook,
    Field(discriminator="kind"),
]


class PretrainingTaskSettings(Block):
    """Made-up tasks beside the next-unit loss.

    Some ask which cluster of its corpus an utterance is in, others for its spelling in a made-up
    orthography.
    """

    tasks: Count = Field(12, description="number of tasks made up for each corpus")
    slots: Count = Field(4, description="tasks that one update asks for, in as many slots")
    classes: list[Annotated[int, Field(ge=2)]] = Field(
        [8, 16, 32, 64, 128, 256],
        min_length=1,
        description="numbers of clusters, which the tasks have in turn; those above an eighth of "
        "the corpus's utterances are left out, and with all of them its tasks",
    )
    weight: Positive = Field(
        1.0, description="weight of the tasks' mean loss; the next-unit loss has 1"
    )
    sequences: int = Field(
        0,
        ge=0,
        description="number of tasks whose answers are sequences of made-up letters, such as 24; "
        "they help tasks that write text, best in an LM that goes on from another (`start`)",
    )
    sequence_share: Share = Field(
        0.5, description="random share of the updates that ask for a sequence and for no cluster"
    )
    sequence_rows: Count = Field(8, description="rows of each of these tasks")
    sequence_weight: Positive = Field(
        0.5, description="weight of the loss of a letter; that of a unit has 1"
    )
    unit_dropout: Share = Field(
        0.1, description="random share of its units that an utterance loses, anew in each epoch"
    )

    @model_validator(mode="after")
    def _check_slots(self) -> Self:
        if self.slots > self.tasks:
            raise ValueError(f"slots: expected at most tasks = {self.tasks}, found {self.slots}")
        return self


class UnitLmSettings(PretrainingSettings):
    """A unit LM pre-trained on the train units of its corpora: no label, no other split."""

    kind: Literal["pretrained"] = "pretrained"
    codebook: Name = Field(description="name under `codebooks`")
    corpora: list[Name] = Field(min_length=1, description="corpora whose train units it reads")
    layers: Count = Field(4, description="transformer layers")
    heads: Count = Field(4, description="attention heads")
    dim: Count = Field(256, description="width of the model")
    ffn: Count = Field(1024, description="width of the feed-forward layers")
    max_positions: Count = Field(3072, description="longest sequence, in units")
    start: Name | None = Field(
        None,
        description="name under `lm`: unit LM of the same shape and codebook to go on from; null "
        "is random weights",
    )
    start_share: Share = Field(
        0.0,
        description="share of the start's weights in the mean of both that is kept in the end; the "
        "mean can do most of what either can",
    )
    dropout: Share = Field(0.1, description="dropout while pre-training")
    lr: LearningRate = 2e-3
    batch_tokens: Count = Field(2048, description="units in one update")
    micro_tokens: MicroTokens = "auto"
    max_epochs: MaxEpochs = 12
    repeat_share: Share = Field(
        0.0,
        description="share of the utterances that come twice in a row, the second time with units "
        "left out: the LM learns to look up what it heard, which tasks that transcribe need",
    )
    repeat_kept: Share = Field(
        0.3,
        description="least share of the units that is kept the second time; each utterance draws "
        "its own share above it",
    )
    pretraining_tasks: PretrainingTaskSettings | None = Field(
        PretrainingTaskSettings(),
        description="made-up tasks that teach the LM to be prompted, beside the next-unit loss; "
        "null trains by the next-unit loss alone, as the paper's unit LMs were",
    )

    @model_validator(mode="after")
    def _check_start_share(self) -> Self:
        if self.start_share and self.start is None:
            raise ValueError("start_share: needs a `start`")
        return self


class ImportedUnitLm(FromHub):
    """A unit LM of fairseq, GSLM's archive; or of transformers: OPT, Qwen2 or XGLM."""

    kind: Literal["imported"] = "imported"
    codebook: Name = Field(description="name under `codebooks`: whose units it reads")
    checkpoint: str = Field(description=Imported.model_fields["checkpoint"].description)


class GivenUnitLm(Block):
    """A unit LM that is there: shipped with the package, or of another set-up."""

    kind: Literal["given"] = "given"
    codebook: Name = Field(description="name under `codebooks`: whose units it reads")
    weights: str = Field(description="shipped unit LM by its name, or the path of a file")


AnyUnitLm = Annotated[UnitLmSettings | ImportedUnitLm | GivenUnitLm, Field(discriminator="kind")]
