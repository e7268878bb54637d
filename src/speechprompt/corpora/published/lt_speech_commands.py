"""Lithuanian Speech Commands: 20 words by 28 speakers.

They are at https://github.com/kolesov93/lt_speech_commands. The split is that of Yen et al. (arXiv
2110.03894), which SpeechPrompt v2 uses: the hash of the speaker, as in Speech Commands v0.01, and a
few recordings of each word for train. Of their classes 13 are words and one stands for the other
seven words. Their silence is not made here. The publisher states no licence.
"""

import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

from speechprompt.config.corpora import LtSpeechCommandsCorpus
from speechprompt.corpora.manifest import Listing
from speechprompt.corpora.published.counts import compare_counts
from speechprompt.corpora.published.mini_speech_commands import list_by_speaker
from speechprompt.corpora.published.sources import SOURCES

__all__ = ["list_recordings"]

(SOURCE,) = SOURCES["lt_speech_commands"]
UNKNOWN = {"nulis", "vienas", "du", "trys", "keturi", "penki", "taip"}
PUBLISHED = {"test": 88}


def list_recordings(corpus: LtSpeechCommandsCorpus, root: Path, seed: int) -> Listing:
    """List the recordings with the label ``label``, in the order of words and files.

    Of each word the first ``train_per_word`` recordings of train are kept. Which 20 were published
    is not a rule.
    """
    kept = []
    n_train = Counter[str]()
    for one in list_by_speaker(root, SOURCE):
        word = unicodedata.normalize("NFC", one.labels["label"])
        if one.split == "train":
            n_train[word] += 1
            if corpus.train_per_word is not None and n_train[word] > corpus.train_per_word:
                continue
        kept.append(replace(one, labels={"label": "_unknown_" if word in UNKNOWN else word}))
    compare_counts(root, kept, PUBLISHED)
    return Listing(kept, ["label"])
