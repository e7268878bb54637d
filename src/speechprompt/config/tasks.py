"""Tasks: what to predict, the prompt, its training, and decoding."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from speechprompt.config.crossvalidation import Crossvalidated
from speechprompt.config.fields import Block, Count, Name, NotNegative, Positive, Share
from speechprompt.config.training import (
    BatchSize,
    Betas,
    LearningRate,
    LoopSettings,
    MaxEpochs,
    MicroTokens,
    RateSchedule,
    Warmup,
)
from speechprompt.runtime.precision import Precision

__all__ = [
    "SCORE_FILES",
    "AcousticBaseline",
    "DecodingSettings",
    "DownstreamSettings",
    "FinetuningSettings",
    "Initialisation",
    "Method",
    "PromptSettings",
    "SweptMethod",
    "Task",
    "TaskType",
    "TrainingSettings",
    "VerbalizerKind",
]

Method = Literal["prompt", "finetune", "downstream"]
AcousticBaseline = Literal["mfcc_mean", "mfcc_dtw"]
SweptMethod = Literal["prompt", "finetune"]
PromptMode = Literal["deep", "input", "both", "infix", "query"]
Initialisation = Literal["normal", "hidden"]
VerbalizerKind = Literal["frequency", "random", "learnable", "aligned"]
TaskType = Literal["classification", "transcription", "slot_filling"]
LABEL_COLUMNS = {
    "classification": ["label"],
    "transcription": ["text"],
    "slot_filling": ["text", "tags"],
}
SCORE_FILES = {"classification": "acc.txt", "transcription": "wer.txt", "slot_filling": "f1.txt"}


class PromptSettings(Block):
    """The trained prompt."""

    mode: PromptMode = Field(
        "deep",
        description="rows in every layer, at the input, both, both at the separator, or rows "
        "behind the utterance that ask for what is in it",
    )
    length: Count = Field(20, description="prompt rows, per layer with deep rows")
    front: int = Field(
        0,
        ge=0,
        description="with `mode: query`, further rows in every layer in front of the utterance, "
        "which change how the unit LM reads it",
    )
    layers: list[int] | None = Field(
        None, description="layers with deep rows, from 0; null is every layer"
    )
    members: Count = Field(
        1,
        description="prompts that are learnt side by side and answer by the mean of their "
        "probabilities; more than one needs a classification with `mode: query` and "
        "`verbalizer: learnable`",
    )
    dropout: Share = Field(0.1, description="dropout on the prompt rows")
    init: Initialisation = Field(
        "normal", description="random as published, or hidden rows of the LM on train utterances"
    )

    start: str | None = Field(
        None,
        description="a prompt that has learnt to tell words apart: the name of one that ships, or "
        "a file that `make-start` wrote. The learnable verbalizer starts as a logistic regression "
        "on what its rows read, which needs few recordings; `training` goes on from there, and "
        "with `max_epochs: 0` it does not. The shape is that of the file",
    )

    @model_validator(mode="before")
    @classmethod
    def _ask_from_start(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("start"):
            return {"mode": "query", **value}
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.front and self.mode != "query":
            raise ValueError(f"front: needs `mode: query`, found {self.mode}")
        if self.start:
            own = {name: field.default for name, field in PromptSettings.model_fields.items()}
            own |= {"mode": "query", "start": self.start, "dropout": self.dropout}
            if other := [name for name, value in own.items() if getattr(self, name) != value]:
                raise ValueError(f"{other[0]}: is that of `start`; leave it out")
        return self


class TrainingSettings(LoopSettings):
    """Training of the prompt."""

    lr: LearningRate = 0.02
    verbalizer_lr: LearningRate | None = Field(
        None, description="peak learning rate of a learnable verbalizer; null is that of the prompt"
    )
    max_epochs: int = Field(
        20,
        ge=0,
        description="most passes over the training data; 0 takes the prompt as `start` makes it",
    )
    batch_size: BatchSize = 32
    micro_tokens: MicroTokens = "auto"
    epoch_size: Count | None = Field(
        None, description="utterances drawn per epoch; null is as many as there are"
    )
    utterances: Count | None = Field(
        None,
        description="number of train utterances to learn from, drawn by the seed as evenly over "
        "the answers as they allow (few-shot); null is all",
    )
    unit_dropout: Share = Field(
        0.0, description="share of each utterance's units left out at random, against overfitting"
    )
    label_smoothing: Share = Field(
        0.0,
        description="share of each training target that is spread evenly over all that the loss "
        "compares, against overfitting",
    )
    end_loss: bool = Field(
        True,
        description="whether the end `</s>` after the labels of a classification is learnt too, as "
        "published; a generation always learns it",
    )
    precision: Precision = Field(
        "auto", description="number type of the LM; prompt and loss are fp32"
    )


class FinetuningSettings(TrainingSettings):
    """Training of the whole LM (FT-LM); its dropout is that of the prompt."""

    lr: LearningRate = 5e-4
    schedule: RateSchedule = "inverse_sqrt"
    max_epochs: MaxEpochs = 20


class DownstreamSettings(LoopSettings):
    """SUPERB's downstream model on the frozen encoder (FT-DM); the defaults are SUPERB's.

    SUPERB makes 200,000 updates; here the number of passes is bounded.
    """

    hidden: Count | None = Field(
        None,
        description="width of the head; null is SUPERB's: 256 for classification, 1024 for the "
        "LSTM layers of the others",
    )
    layers: Count = Field(2, description="LSTM layers; classification has none")
    dropout: Share = Field(0.2, description="dropout on the output of each LSTM layer")
    normalize: bool = Field(
        False,
        description="take each layer's frames to mean 0 and variance 1 before the weighted sum: "
        "for encoders whose layers add to the one before, such as HuBERT large and nano",
    )
    lr: LearningRate = 1e-4
    betas: Betas = (0.9, 0.999)
    schedule: RateSchedule = "constant"
    warmup: Warmup = 0
    batch_size: BatchSize = 32
    max_epochs: MaxEpochs = 200


class DecodingSettings(Block):
    """Decoding of the answers."""

    beam: Count = Field(1, description="hypotheses kept; 1 is greedy")
    free: bool = Field(
        False, description="greedy over all units as published, not the task's labels only"
    )
    combinations: Literal["known", "any"] = Field(
        "any",
        description="with several label columns: `any` answers each by itself; `known`, where a "
        "learnable verbalizer reads all at once, with combinations of labels that train has, if it "
        "has each at least twice and valid has no other",
    )
    max_length: Count = Field(
        400,
        description="longest generated answer, in labels; it also ends where the unit LM has no "
        "positions left",
    )
    length_penalty: NotNegative = Field(
        1.0,
        description="a finished hypothesis is ranked by its log-probability over its length, the "
        "end included, to this power",
    )
    precision: Precision = Field("fp32", description="number type of the LM; scores are fp32")


class Task(Block):
    """A task: a corpus, what to predict, and how."""

    corpus: Name = Field(description="name under `corpora`")
    lm: Name = Field(description="name under `lm`")
    type: TaskType = Field("classification", description="form of the answer")
    labels: list[str] = Field(
        [],
        description="label columns, in order; the defaults by type are: label; text; text and tags",
    )
    method: Method = Field(
        "prompt",
        description="train a prompt, the whole LM without one (FT-LM), or a model on the encoder's "
        "layers without units and LM (FT-DM)",
    )
    compare: list[Method] = Field(
        [], description="further methods, trained for the table and the pictures"
    )
    acoustic_baselines: list[AcousticBaseline] = Field(
        [],
        description="further baselines of a classification, on MFCC without units: logistic "
        "regression on means and deviations, the nearest utterance of train by dynamic time "
        "warping",
    )
    crossvalidate: Crossvalidated = Field(
        None,
        description="train one prompt for each of some folds of the corpus, whatever its splits "
        "are, and score their answers together; `speaker` is 5 folds by speaker",
    )
    robustness: bool = Field(
        False,
        description="score the task with noise, rooms, narrow bands, codecs and other speeds, too",
    )
    reported: dict[Method, Positive] = Field(
        {}, description="results in percent that the paper reports, by method, for the table"
    )
    balance: bool = Field(False, description="sample the classes of train equally often")
    verbalizer: VerbalizerKind = Field(
        "frequency",
        description="how labels get their units: by frequency as published, at random, through a "
        "trained layer, or units heard where the label is said",
    )
    prompt: PromptSettings = PromptSettings()
    training: TrainingSettings = TrainingSettings()
    finetuning: FinetuningSettings = FinetuningSettings()
    downstream: DownstreamSettings = DownstreamSettings()
    decoding: DecodingSettings = DecodingSettings()

    @model_validator(mode="before")
    @classmethod
    def _default_labels(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and not value.get("labels"):
            columns = LABEL_COLUMNS.get(str(value.get("type", "classification")), [])
            return {**value, "labels": columns}
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        n_expected = len(LABEL_COLUMNS[self.type])
        if self.type != "classification" and len(self.labels) != n_expected:
            columns = " and ".join(LABEL_COLUMNS[self.type])
            raise ValueError(f"labels: {self.type} reads {columns}, found {self.labels}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels: a column is named twice: {self.labels}")
        if taken := {*self.labels} & {"novel", "distinct"}:
            raise ValueError(
                f"labels: {min(taken)!r} stands for a part of the utterances in scores; rename it"
            )
        if (
            self.verbalizer == "learnable"
            and self.type != "classification"
            and self.prompt.mode != "query"
        ):
            raise ValueError(
                f"verbalizer: learnable needs `prompt: {{mode: query}}` for {self.type}, found "
                f"mode {self.prompt.mode}; or use frequency, random or aligned"
            )
        asks = self.prompt.mode == "query" and self.verbalizer == "learnable"
        if self.prompt.members > 1 and not (asks and self.type == "classification"):
            raise ValueError(
                "prompt.members: several need a classification with `mode: query` and "
                "`verbalizer: learnable`"
            )
        if not self.training.max_epochs and not self.prompt.start:
            raise ValueError("training.max_epochs: 0 needs `prompt.start`")
        if self.prompt.start and not (asks and self.type == "classification"):
            raise ValueError("prompt.start: needs a classification with `verbalizer: learnable`")
        if self.acoustic_baselines and self.type != "classification":
            raise ValueError(f"acoustic_baselines: classify, and {self.type} does not")
        if self.robustness and self.method == "downstream":
            raise ValueError("robustness: is of a prompt or of finetune, and method is downstream")
        if self.robustness and self.crossvalidate:
            raise ValueError("robustness: is of one prompt, and crossvalidate trains several")
        if self.crossvalidate and "speaker" in self.labels:
            raise ValueError(
                "crossvalidate: no speaker of test is in train, and labels has speaker"
            )
        if self.balance and self.type != "classification":
            raise ValueError(f"balance: evens out classes, and {self.type} has none")
        if self.decoding.free and (self.decoding.beam > 1 or self.verbalizer == "learnable"):
            raise ValueError("decoding.free: is greedy and over units: no beam, no learnable")
        return self

    @property
    def score_file(self) -> str:
        """Name of the one-line score."""
        return SCORE_FILES[self.type]

    @property
    def methods(self) -> list[str]:
        """All methods to train, the task's own first."""
        return list(dict.fromkeys([self.method, *self.compare]))

    def trained_by(self, method: str) -> Self:
        """The task with one method, whose settings are in ``training``."""
        settings = self.finetuning if method == "finetune" else self.training
        return self.model_copy(update={"method": method, "training": settings})
