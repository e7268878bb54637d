"""Cross-validation: its settings, and the corpora that its folds are in the plan of a run."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from speechprompt.config.corpus import SpokenCorpus
from speechprompt.config.fields import Block, Share

__all__ = ["Crossvalidated", "CrossvalidationSettings", "FoldCorpus"]


class CrossvalidationSettings(Block):
    """Folds of the corpus, each of which is test once; all rows of a speaker are in one fold."""

    by: Literal["speaker"] = Field("speaker", description="what no two folds share")
    folds: Annotated[int, Field(ge=2, le=99, strict=True)] = Field(
        5, description="number of folds; as many as there are speakers leaves each out once"
    )


def _named(value: Any) -> Any:
    return {"by": value} if isinstance(value, str) else value


Crossvalidated = Annotated[
    CrossvalidationSettings | None,
    BeforeValidator(
        _named, json_schema_input_type=Literal["speaker"] | CrossvalidationSettings | None
    ),
]


class FoldCorpus(SpokenCorpus):
    """A corpus whose test split is one fold of another corpus; no configuration names it."""

    kind: Literal["fold"] = "fold"
    of: str
    number: int
    folds: int
    valid_fraction: Share
