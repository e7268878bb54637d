"""What all blocks of the configuration share: strictness, and the types of values."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from speechprompt.downloads.model_folder import REPOSITORY, REVISION
from speechprompt.runtime.precision import Precision

__all__ = [
    "PATTERNS",
    "Block",
    "Commit",
    "Count",
    "Keyword",
    "Name",
    "NotNegative",
    "Positive",
    "Precision",
    "Repository",
    "Seed",
    "Share",
    "members",
]

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
NAME = r"^[A-Za-z0-9_-]+$"
KEYWORD = r"^[A-Za-z]+([' -][A-Za-z]+)*$"
# What a text must be, by its pattern.
PATTERNS = {
    NAME: "a name has only letters, digits, '-' and '_'",
    KEYWORD: "a keyword has only letters from A to Z, and single spaces, hyphens or apostrophes "
    "between them",
}
Name = Annotated[str, Field(pattern=NAME, max_length=100)]
# A word or a short phrase, which is cut after the second that a recording has.
Keyword = Annotated[str, Field(pattern=KEYWORD, max_length=40)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
# Of the Hugging Face hub. Blocks refuse what is none, with a reason.
Commit = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{REVISION.pattern}$"})]
Repository = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": f"^{REPOSITORY.pattern}$"})
]


class Block(BaseModel):
    """A block of the configuration: unknown keys are refused, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def members(union: Any) -> dict[str, type[Block]]:
    """The blocks of a union that ``kind`` tells apart, by kind."""
    return {block.model_fields["kind"].default: block for block in get_args(get_args(union)[0])}
