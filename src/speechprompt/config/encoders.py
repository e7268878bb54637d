"""Encoders, and what all imported models have in common."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from speechprompt.audio.front_end import (
    FRAME_RATE,
    FRAME_SHIFT,
    FRAME_WINDOW,
    MEL_PHASES,
    SHORTEST_MEL_FILTER,
    window_and_shift,
)
from speechprompt.config.fields import Block, Commit, Count, Name, NotNegative, Positive, Share
from speechprompt.config.training import (
    HeldOutShare,
    LearningRate,
    MaxEpochs,
    PretrainingSettings,
    Warmup,
)
from speechprompt.downloads.assets import ASSETS
from speechprompt.downloads.model_folder import REPOSITORY, check_revision

__all__ = [
    "AnyEncoder",
    "CpcEncoder",
    "Encoder",
    "FromHub",
    "HubertEncoder",
    "HubertPretraining",
    "Imported",
    "LogMelEncoder",
    "MfccEncoder",
    "TransformerEncoder",
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


class FromHub(Imported):
    """A model that may come from the Hugging Face hub."""

    revision: Commit | None = Field(
        None,
        description="commit (40 hexadecimal digits) of a model on the Hugging Face hub, which "
        "`checkpoint` names, such as facebook/hubert-base-ls960",
    )

    @model_validator(mode="after")
    def _check_revision(self) -> Self:
        if self.revision is None:
            return self
        check_revision(self.revision)
        if self.published or not REPOSITORY.fullmatch(self.checkpoint or ""):
            raise ValueError(
                "revision: goes with a checkpoint such as facebook/hubert-base-ls960, the name of "
                f"a model on the Hugging Face hub; found {self.checkpoint!r}"
            )
        if self.trust:
            raise ValueError("trust: a model of the hub never runs code")
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


class TransformerEncoder(PretrainedEncoder, FromHub):
    """An encoder of a convolutional front end and transformer layers."""

    checkpoint: str | None = Field(
        None,
        description="published file by its name, the path of a file of one's own, the folder of a "
        "model of transformers, or with `revision` a model on the Hugging Face hub",
    )
    normalize: bool | None = Field(
        None,
        description="normalise each waveform to mean 0 and variance 1; null does what the "
        "checkpoint says",
    )
    weights_of: Name | None = Field(
        None, description="encoder whose weights it shares, in order to read another layer"
    )
    layer: Count = Field(6, description="transformer layer whose output is taken, from 1")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="number type of the products; bf16 is faster and changes a few units, so that "
        "it is never chosen by the machine",
    )
    batch_seconds: Positive = Field(40.0, description="audio in one batch, seconds")

    @property
    def sources(self) -> dict[str, object]:
        """Where weights may come from; exactly one must be given."""
        return {**super().sources, "weights_of": self.weights_of}

    @model_validator(mode="after")
    def _check_normalize(self) -> Self:
        if self.normalize is not None and self.checkpoint is None:
            raise ValueError("normalize: goes with a checkpoint; other weights say it themselves")
        return self


class HubertPretraining(PretrainingSettings):
    """HuBERT pre-training on unlabelled audio: masked prediction of an earlier codebook's units."""

    # The settings that a pre-training and the one that it goes on from have in common.
    SHAPE: ClassVar = (
        *("convolutions", "dim", "layers", "heads", "ffn"),
        *("position_kernel", "position_groups"),
    )

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
    mask_share: float = Field(
        0.3, gt=0, lt=1, description="share of the frames in masked spans, overlaps counted twice"
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
        key = "target_corpora" if self.target_corpora else "corpora"
        taught_by = getattr(self, key)
        if len(set(taught_by)) != len(taught_by):
            raise ValueError(f"{key}: a corpus stands twice in {taught_by}")
        return self

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if (found := window_and_shift(self.convolutions)) != (FRAME_WINDOW, FRAME_SHIFT):
            raise ValueError(
                "convolutions: expected kernels and strides of together "
                f"{FRAME_WINDOW} samples' window and {FRAME_SHIFT} samples' shift, found {found}"
            )
        channels, kernel, _ = self.convolutions[0]
        if self.mel_filters and (channels % MEL_PHASES or kernel < SHORTEST_MEL_FILTER):
            raise ValueError(
                f"mel_filters: the first convolution needs a multiple of {MEL_PHASES} channels and "
                f"a kernel of {SHORTEST_MEL_FILTER} samples or more, found {channels} and "
                f"{kernel}; set mel_filters: false, or change the convolutions"
            )
        for name in ("heads", "position_groups"):
            if self.dim % (parts := getattr(self, name)):
                raise ValueError(f"dim: must be a multiple of {name} ({parts}), found {self.dim}")
        return self

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        needed = 2 * self.mask_length / FRAME_RATE
        if self.crop_seconds < needed:
            raise ValueError(
                f"crop_seconds: must be at least {needed:g}, two masked spans of "
                f"{self.mask_length} frames, found {self.crop_seconds:g}"
            )
        return self


class HubertEncoder(TransformerEncoder):
    """HuBERT of any size: the output of one transformer layer, 50 frames/s."""

    kind: Literal["hubert"] = "hubert"
    pretraining: HubertPretraining | None = Field(
        None, description="train it here, instead of weights or a checkpoint"
    )

    @property
    def sources(self) -> dict[str, object]:
        """Where weights may come from; exactly one must be given."""
        return {**super().sources, "pretraining": self.pretraining}


class OfTransformers(TransformerEncoder):
    """An encoder whose checkpoints are models of transformers."""

    @model_validator(mode="after")
    def _check_not_published(self) -> Self:
        if self.published:
            raise ValueError(
                f"checkpoint: {self.checkpoint} is another kind of model; give the folder of a "
                "model of transformers, or with `revision` the name of one on the hub"
            )
        return self


class Wav2Vec2Encoder(OfTransformers):
    """wav2vec 2.0 of any size: the output of one transformer layer, 50 frames/s."""

    kind: Literal["wav2vec2"] = "wav2vec2"


class WavLmEncoder(OfTransformers):
    """WavLM of any size: the output of one transformer layer, 50 frames/s."""

    kind: Literal["wavlm"] = "wavlm"


class CpcEncoder(PretrainedEncoder):
    """GSLM's CPC: the output of one LSTM layer, 100 frames/s."""

    kind: Literal["cpc"] = "cpc"
    layer: Count = Field(2, description="LSTM layer whose output is taken, from 1")
    batch_seconds: Positive = Field(40.0, description="audio in one batch, seconds")


class LogMelEncoder(Encoder):
    """GSLM's log-mel filterbank: 80 bands, 100 frames/s; needs no weights."""

    kind: Literal["logmel"] = "logmel"


AnyEncoder = Annotated[
    MfccEncoder | HubertEncoder | Wav2Vec2Encoder | WavLmEncoder | CpcEncoder | LogMelEncoder,
    Field(discriminator="kind"),
]
