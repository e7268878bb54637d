"""What all corpora share."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from speechprompt.audio.speed import check_speeds
from speechprompt.config.fields import Block

__all__ = ["Corpus", "SpokenCorpus"]


class Corpus(Block):
    """What all corpora share: the splits that training, selection and scoring use."""

    listen: Annotated[int, Field(ge=1, le=200, strict=True)] | Literal[False] = Field(
        30,
        description="test utterances that the overview has to listen to; `false`: none, where the "
        "licence forbids copies",
    )

    # Labels of the kind in this order, and the speaker; None where a block has columns of its own.
    columns_of_kind: ClassVar[list[str] | None] = None

    @property
    def dev_split(self) -> str:
        """The split that early stopping and every choice look at."""
        return "valid"

    @property
    def scored_splits(self) -> list[str]:
        """The splits that are scored once at the end; the last one gives the main metric."""
        return ["test"]

    @property
    def label_columns(self) -> list[str] | None:
        """The columns that a task can predict; None where only the corpus itself tells."""
        return self.columns_of_kind

    @property
    def splits(self) -> list[str]:
        """All splits, training first."""
        return ["train", *dict.fromkeys([self.dev_split, *self.scored_splits])]


class SpokenCorpus(Corpus):
    """What all corpora of recordings share."""

    speeds: list[float] = Field(
        [],
        description="further speeds that each recording is heard at: prompts learn from all, and a "
        "classification answers by the mean of their log-probabilities; for few recordings, or "
        "other speakers",
    )

    @field_validator("speeds")
    @classmethod
    def _check_speeds(cls, speeds: list[float]) -> list[float]:
        check_speeds(speeds)
        return speeds
