"""Synthetic transcription: short sentences from a small grammar over some hundred words.

No sentence occurs twice, neither in one split nor in two. All words occur in all splits.
"""

from collections.abc import Mapping

import numpy as np

from speechprompt.corpora.synthetic.grammar import Grammar, split_of
from speechprompt.corpora.synthetic.speech import plan_sentences
from speechprompt.corpora.synthetic.synthesis import Utterance

__all__ = ["plan"]

STREAM = 2


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; the label is ``text``, 2 to 6 words in upper case.

    A larger split starts with the sentences of a smaller one.

    Args:
        seed: Seed of the voices' split, the sentences, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    grammar = Grammar.of(__file__)

    def draw(split: str, size: int, generator: np.random.Generator) -> list[dict[str, str]]:
        texts: dict[str, None] = {}
        while len(texts) < size:
            text = grammar.draw(generator)
            if split_of(seed, text) == split:
                texts[text] = None
        return [{"text": text} for text in texts]

    return plan_sentences(seed, STREAM, sizes, draw)
