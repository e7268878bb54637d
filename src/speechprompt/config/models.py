"""Encoders, codebooks and unit LMs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from speechprompt.config.fields import Block, Count, Name, NotNegative, Positive, Share
from speechprompt.config.training import (
    HeldOutShare,
    LearningRate,
    MaxEpochs,
    MicroTokens,
    PretrainingSettings,
    Warmup,
)
from speechprompt.downloads.assets import ASSETS

__all__ = [
    "AnyCodebook",
    "AnyEncoder",
    "AnyUnitLm",
    "CpcEncoder",
    "Encoder",
    "ExternalCodebook",
    "HubertEncoder",
    "HubertPretraining",
    "Imported",
    "KmeansCodebook",
    "LogMelEncoder",
    "MfccEncoder",
    "PretrainingTaskSettings",
    "UnitLmSettings",
]


class Imported(Block):
    """A published model file, downloaded and verified, or a file of one's own."""

    checkpoint: str | None = Field(
        None, description="published file by its name, or the path of a file of one's own"
    )
    root: str | None = Field(
        None, description="folder that holds the published file; then nothing is downloaded"
    )
    trust: bool = Field(
        False, description="run whatever code a pickle of one's own holds; published ones never do"
    )

    @property
    def published(self) -> bool:
        """Whether the checkpoint is in the table of published files."""
        return self.checkpoint is not None and self.checkpoint in ASSETS

    @model_validator(mode="after")
    def _check_checkpoint(self) -> Self:
        own = None if self.published else self.checkpoint
        if own is not None and "/" not in own:
            known = ", ".join(asset.name for asset in ASSETS.values() if asset.is_model)
            raise ValueError(
                f"checkpoint: {own!r} is not a published file; these are {known}. "
                "Write a file of one's own with its folder"
            )
        if self.root is not None and not self.published:
            raise ValueError("root: goes with a published checkpoint; others are paths themselves")
        if self.trust and own is None:
            raise ValueError("trust: goes with a checkpoint of one's own")
        return self


class Encoder(Block):
    """What all encoders share."""

    sample_corpora: list[Name] = Field(
        [], description="corpora whose train split gives the frames that codebooks are fitted on"
    )
    sample_frames: Count = Field(200_000, description="frames in that sample")


class MfccEncoder(Encoder):
    """MFCC with deltas: 39 dimensions, 50 frames/s; needs no weights."""

    kind: Literal["mfcc"] = "mfcc"
    cmvn: bool = Field(True, description="normalise mean and variance over each utterance")


class PretrainedEncoder(Encoder, Imported):
    """An encoder with weights: a safetensors file, or a checkpoint that is imported into one."""

    weights: str | None = Field(
        None,
        description="shipped model by its name, or the path of a safetensors file; or give "
        "`checkpoint`",
    )

    @property
    def sources(self) -> dict[str, object]:
        """Where weights may come from; exactly one must be given."""
        return {"weights": self.weights, "checkpoint": self.checkpoint}

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if sum(source is not None for source in self.sources.values()) != 1:
            raise ValueError(f"weights: give exactly one of {', '.join(self.sources)}")
        return self


class WithLayers(PretrainedEncoder):
    """An encoder of a convolutional front end and transformer layers."""

    checkpoint: str | None = Field(
        None,
        description="published file by its name, the path of a file of one's own, or the folder of "
        "a model of transformers",
    )
    normalize: bool | None = Field(
        None,
        description="normalise each waveform to mean 0 and variance 1; null does what the "
        "checkpoint says",
    )
    layer: Count = Field(6, description="transformer layer whose output is taken, from 1")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="number type of the products; bf16 is faster and changes a few units, so that "
        "it is never chosen by the machine",
    )
    batch_seconds: Positive = Field(40.0, description="audio in one batch, seconds")

    @model_validator(mode="after")
    def _check_normalize(self) -> Self:
        if self.normalize is not None and self.checkpoint is None:
            raise ValueError("normalize: goes with a checkpoint; other weights say it themselves")
        return self


class HubertPretraining(PretrainingSettings):
    """HuBERT pre-training on unlabelled audio: masked prediction of an earlier codebook's units."""

    targets: Name = Field(description="name under `codebooks`: whose units are predicted")
    corpora: list[Name] = Field(min_length=1, description="corpora whose train audio it hears")
    target_corpora: list[Name] = Field(
        [],
        description="corpora whose train units it predicts, one for each of `corpora`, with "
        "recordings of the same names and lengths, such as `plain` ones; by default `corpora`",
    )
    start: Name | None = Field(
        None, description="encoder of the same shape to go on from; null is random weights"
    )
    convolutions: list[Annotated[list[Count], Field(min_length=3, max_length=3)]] = Field(
        [[128, 160, 40], [192, 3, 2], [256, 3, 4]],
        description="channels, kernel and stride of each convolution; together a window of 400 "
        "samples and a shift of 320. The published ones have kernels 10, 3, 3, 3, 3, 2, 2 and "
        "strides 5, 2, 2, 2, 2, 2, 2",
    )
    mel_filters: bool = Field(
        True, description="start the first convolution as filters evenly spaced in mel"
    )
    dim: Count = Field(256, description="width of the transformer")
    layers: Count = Field(5, description="transformer layers")
    heads: Count = Field(4, description="attention heads")
    ffn: Count = Field(768, description="width of the feed-forward layers")
    position_kernel: Count = Field(48, description="frames seen by the positional convolution")
    position_groups: Count = Field(16, description="groups of the positional convolution")
    dropout: Share = Field(0.0, description="dropout while pre-training")
    mask_share: Share = Field(
        0.3, description="share of the frames in masked spans, overlaps counted twice"
    )
    mask_length: Count = Field(6, description="frames of a masked span")
    unmasked_weight: NotNegative = Field(
        1.0, description="weight of the frames that are not masked; HuBERT's own is 0"
    )
    augmentation: bool = Field(
        True,
        description="rooms, talkers, noise, narrow channels and other speeds while pre-training",
    )
    hard_augmentation: bool = Field(
        False,
        description="with `augmentation`, also farther microphones, other vocal tracts, clipping "
        "and codecs (GSM, µ-law, Opus, MP3)",
    )
    lr: LearningRate = 1.5e-3
    warmup: Warmup = 200
    batch_seconds: Positive = Field(8.0, description="audio in one update, seconds")
    crop_seconds: Positive = Field(
        6.0, description="of a longer utterance a random piece is taken, seconds"
    )
    max_epochs: MaxEpochs = 10
    valid_share: HeldOutShare = 0.02

    @model_validator(mode="after")
    def _check_target_corpora(self) -> Self:
        if self.target_corpora and len(self.target_corpora) != len(self.corpora):
            raise ValueError(
                f"target_corpora: expected one for each of the {len(self.corpora)} corpora, found "
                f"{len(self.target_corpora)}"
            )
        return self


class HubertEncoder(WithLayers):
    """HuBERT of any size: the output of one transformer layer, 50 frames/s."""

    kind: Literal["hubert"] = "hubert"
    pretraining: HubertPretraining | None = Field(
        None, description="train it here, instead of weights or a checkpoint"
    )
    weights_of: Name | None = Field(
        None, description="encoder whose weights it shares, in order to read another layer"
    )

    @property
    def sources(self) -> dict[str, object]:
        """Where weights may come from; exactly one must be given."""
        return {
            **super().sources,
            "pretraining": self.pretraining,
            "weights_of": self.weights_of,
        }


class CpcEncoder(PretrainedEncoder):
    """GSLM's CPC: the output of one LSTM layer, 100 frames/s."""

    kind: Literal["cpc"] = "cpc"
    layer: Count = Field(2, description="LSTM layer whose output is taken, from 1")
    batch_seconds: Positive = Field(40.0, description="audio in one batch, seconds")


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


class ImportedUnitLm(Imported):
    """A unit LM of fairseq, GSLM's archive; or of transformers, a folder with an OPT or XGLM."""

    kind: Literal["imported"] = "imported"
    codebook: Name = Field(description="name under `codebooks`: whose units it reads")
    checkpoint: str = Field(description=Imported.model_fields["checkpoint"].description)


class GivenUnitLm(Block):
    """A unit LM that is there: shipped with the package, or of another set-up."""

    kind: Literal["given"] = "given"
    codebook: Name = Field(description="name under `codebooks`: whose units it reads")
    weights: str = Field(description="shipped unit LM by its name, or the path of a file")


AnyUnitLm = Annotated[UnitLmSettings | ImportedUnitLm | GivenUnitLm, Field(discriminator="kind")]
