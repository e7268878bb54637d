"""Look-ups in the configuration: a block by its name and class, the encoder of a codebook."""

from collections.abc import Mapping
from typing import Any, TypeVar

from speechprompt.config import Config
from speechprompt.config.corpora import Corpus
from speechprompt.config.corpus import SpokenCorpus
from speechprompt.config.fields import Block
from speechprompt.config.models import ExternalCodebook
from speechprompt.errors import ConfigError

__all__ = ["block_of", "encoder_behind", "speeds_of"]

AnyBlock = TypeVar("AnyBlock", bound=Block)


def block_of(blocks: Mapping[str, Any], name: str, kind: type[AnyBlock]) -> AnyBlock:
    """A block of a section.

    Raises:
        ConfigError: it is of another kind.
    """
    block = blocks[name]
    if not isinstance(block, kind):
        raise ConfigError(f"{name}: expected {kind.__name__}, found {type(block).__name__}")
    return block


def encoder_behind(config: Config, codebook: str) -> str:
    """Name of the encoder whose frames a codebook quantises.

    Raises:
        ConfigError: the codebook is external, so that no encoder is known.
    """
    book = config.codebooks[codebook]
    if isinstance(book, ExternalCodebook):
        raise ConfigError(f"codebooks.{codebook}: behind an external codebook is no encoder")
    return book.encoder


def speeds_of(corpus: Corpus) -> list[float]:
    """The further speeds that a corpus's recordings are heard at."""
    return corpus.speeds if isinstance(corpus, SpokenCorpus) else []
