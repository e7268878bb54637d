"""Single words: what a prompt learns to tell apart, from which prompts of other tasks start.

Recordings last one second, as those of keyword spotting. The words are those of the English texts;
keywords, the other words of keyword spotting and digits are left out, so that these are new to
what starts from such a prompt.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from speechprompt.corpora.manifest import SPLITS, Recording
from speechprompt.corpora.synthetic import english
from speechprompt.corpora.synthetic.grammar import Grammar
from speechprompt.corpora.synthetic.keyword_spotting import KEYWORDS, SpokenWord, unknown_words
from speechprompt.corpora.synthetic.synthesis import Utterance
from speechprompt.corpora.synthetic.voices import Voice, assign_voices

__all__ = ["plan", "vocabulary"]

STREAM = 5
LONGEST = 9  # letters of a word that most voices say within a second


@cache
def vocabulary() -> tuple[str, ...]:
    """The words that are said, in alphabetical order."""
    grammar = Grammar.of(english.__file__)
    found = {word.lower() for words in grammar.words.values() for word in words if word.isalpha()}
    known = {word for words in unknown_words().values() for word in words} | set(KEYWORDS)
    short = {word for word in found if 1 < len(word) <= LONGEST}
    return tuple(sorted(short - known - set(grammar.words["digit"])))


def plan(seed: int, sizes: Mapping[str, int], languages: Sequence[str] = ()) -> list[Utterance]:
    """Decide who says what; the label is ``label``, the word, with balanced classes.

    Args:
        seed: Seed of the voices' split, the words, deliveries and noises.
        sizes: Split -> number of utterances.
        languages: Languages that a third of the words are read by, each word by one of them.
    """
    voices = {"": assign_voices(seed)} | {one: assign_voices(seed, [one]) for one in languages}
    words = vocabulary()
    result: list[Utterance] = []
    for number, split in enumerate(SPLITS):
        for index in range(sizes[split]):
            nth = index % len(words)
            language = languages[nth // 3 % len(languages)] if languages and nth % 3 == 2 else ""
            generator = np.random.default_rng((seed, STREAM, number, index, 0))
            chosen: Sequence[Voice] = voices[language][split]
            voice = chosen[int(generator.integers(len(chosen)))]
            path = f"{split}/{words[nth]}/{voice.name}-{index:05d}.wav"
            recording = Recording(path, split, {"label": words[nth]}, voice.name)
            result.append(
                SpokenWord(recording, words[nth], voice, (seed, STREAM, number, index, 1))
            )
    return result
