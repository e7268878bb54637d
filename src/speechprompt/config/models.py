"""Encoders, codebooks and unit LMs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from speechprompt.config.fields import (
    Block,
    Count,
    Name,
    NotNegative,
    Positive,
    Precision,
    Schedule,
    Share,
)

__all__ = [
    "AnyCodebook",
    "AnyEncoder",
    "CpcEncoder",
    "Encoder",
    "ExternalCodebook",
    "HubertEncoder",
    "KmeansCodebook",
    "LogMelEncoder",
    "MfccEncoder",
    "UnitLmSettings",
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


class CpcEncoder(Encoder):
    """GSLM's CPC: the output of one LSTM layer, 100 frames/s."""

    kind: Literal["cpc"] = "cpc"
    weights: str = Field(description="safetensors file with weights and architecture")
    layer: Count = Field(2, description="LSTM layer whose output is taken, from 1")
    batch_seconds: float = Field(40.0, gt=0, description="audio in one batch, seconds")


class LogMelEncoder(Encoder):
    """GSLM's log-mel filterbank: 80 bands, 100 frames/s; needs no weights."""

    kind: Literal["logmel"] = "logmel"


AnyEncoder = Annotated[
    MfccEncoder | HubertEncoder | CpcEncoder | LogMelEncoder, Field(discriminator="kind")
]


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
