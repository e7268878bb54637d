"""The settings that all trainings share: the optimiser, its learning rate, and when to stop.

Each training's own defaults, such as its learning rate, are in its own block: prompts, FT-LM and
FT-DM in :mod:`.tasks`, encoders and unit LMs in :mod:`.models`. The types carry the descriptions,
so that a block with another default states only the default.
"""

from typing import Annotated, Literal

from pydantic import Field

from speechprompt.config.fields import Block, Count, NotNegative, Positive, Share
from speechprompt.runtime.precision import Precision

__all__ = [
    "BatchSize",
    "Betas",
    "HeldOutShare",
    "LearningRate",
    "LoopSettings",
    "MaxEpochs",
    "MicroTokens",
    "PretrainingSettings",
    "RateSchedule",
    "Schedule",
    "Warmup",
]

Schedule = Literal["constant", "inverse_sqrt", "cosine"]
LearningRate = Annotated[Positive, Field(description="peak learning rate")]
Betas = Annotated[
    tuple[Share, Share],
    Field(description="decay rates of Adam's running means of the gradient and of its square"),
]
WeightDecay = Annotated[NotNegative, Field(description="weight decay of AdamW; at 0 it is Adam")]
RateSchedule = Annotated[
    Schedule, Field(description="how the learning rate goes on after the warm-up")
]
Warmup = Annotated[int, Field(ge=0, description="updates until the peak learning rate")]
MaxEpochs = Annotated[Count, Field(description="most passes over the training data")]
Patience = Annotated[
    Count,
    Field(description="epochs without a better loss on held-out utterances before training stops"),
]
BatchSize = Annotated[Count, Field(description="utterances in one update")]
MicroTokens = Annotated[
    Count | Literal["auto"],
    Field(
        description="units computed at once, padding included: fewer take less memory and more "
        "steps of gradient accumulation; `auto` is 4096 on a processor, and what fits the memory "
        "of a GPU"
    ),
]
HeldOutShare = Annotated[
    float,
    Field(
        gt=0,
        lt=1,
        description="share of the train utterances, by a hash of their names, held out",
    ),
]


class LoopSettings(Block):
    """The settings that every training has."""

    lr: LearningRate
    betas: Betas = (0.9, 0.98)
    weight_decay: WeightDecay = 0.0
    clip: NotNegative = Field(1.0, description="largest norm of the gradient; 0 is no limit")
    schedule: RateSchedule = "cosine"
    warmup: Warmup = 100
    max_epochs: MaxEpochs
    patience: Patience = 8


class PretrainingSettings(LoopSettings):
    """The settings that the pre-trainings of encoders and unit LMs share."""

    weight_decay: WeightDecay = 0.01
    patience: Patience = 3
    valid_share: HeldOutShare = 0.03
    precision: Precision = Field(
        "auto",
        description="number type of the activations; auto is bf16 where the processor multiplies "
        "in it",
    )
    half: bool = Field(False, description="store weights in 16 bits")
