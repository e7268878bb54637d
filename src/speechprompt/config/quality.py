"""How good the units are: what is measured, on which synthetic speech."""

from typing import Literal

from pydantic import Field

from speechprompt.config.fields import Block, Name

__all__ = ["QualitySettings"]


class QualitySettings(Block):
    """Purity and mutual information of units and phones, which synthetic speech has."""

    corpus: Name = Field(description="synthetic corpus whose phones the units are compared with")
    split: Literal["train", "valid", "test"] = Field("test", description="split of it")
    codebooks: list[Name] = Field(
        min_length=1, description="codebooks to compare, with the first of them"
    )
