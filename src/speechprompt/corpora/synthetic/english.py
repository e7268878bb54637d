"""Varied English for pre-training encoders and unit LMs: no task, many words, all sounds.

The texts are statements, questions, requests, word lists, numbers, spelled words and single words,
from more than a thousand words. Some are said twice, so that a unit LM learns to use what came
before. A text may occur several times, also in different splits; a voice is in one split only.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from speechprompt.corpora.synthetic.grammar import Grammar
from speechprompt.corpora.synthetic.speech import plan_sentences
from speechprompt.corpora.synthetic.synthesis import Utterance

__all__ = ["plan"]

STREAM = 4
SAID_TWICE = 0.15


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; the label is ``text``, in upper case.

    A larger split starts with the texts of a smaller one.

    Args:
        seed: Seed of the voices' split, the texts, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    grammar = Grammar.of(__file__)

    def draw(split: str, size: int, generator: np.random.Generator) -> Iterator[dict[str, str]]:
        for _ in range(size):
            text = grammar.draw(generator)
            yield {"text": f"{text} {text}" if generator.random() < SAID_TWICE else text}

    return plan_sentences(seed, STREAM, sizes, draw)
