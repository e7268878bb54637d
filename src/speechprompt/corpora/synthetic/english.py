"""Varied English for pre-training encoders and unit LMs: no task, many words, all sounds.

Statements, questions, requests, word lists, numbers, spelled and single words, over more than a
thousand words. Some are said twice, as people do when they are asked again: a unit LM learns from
it to look back. Texts may repeat, also across splits; voices do not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from speechprompt.corpora.manifest import SPLITS
from speechprompt.corpora.synthetic.grammar import Grammar
from speechprompt.corpora.synthetic.speech import plan_sentences
from speechprompt.corpora.synthetic.synthesis import Utterance

__all__ = ["plan"]

STREAM = 4
SAID_TWICE = 0.15


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; label ``text``, in upper case.

    The first texts of a split stay the same if more are wanted.

    Args:
        seed: Seed of the voices' split, the texts, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    grammar = Grammar.of(__file__)
    rows = {}
    for number, split in enumerate(SPLITS):
        generator = np.random.default_rng((seed, STREAM, number))
        rows[split] = [{"text": _draw_text(generator, grammar)} for _ in range(sizes[split])]
    return list(plan_sentences(seed, STREAM, rows))


def _draw_text(generator: np.random.Generator, grammar: Grammar) -> str:
    text = grammar.draw(generator)
    return f"{text} {text}" if generator.random() < SAID_TWICE else text
