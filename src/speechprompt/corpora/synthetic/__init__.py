"""Synthetic corpora, spoken on the spot: a task and a seed come in, recordings and a table go out.

eSpeak NG says them in English accents or as other languages would (``languages``), or other engines
whose voices come from people (``engines``).

One module per task plans the utterances, ``speech`` gives them voices and acoustics, and
``synthesis`` writes the recordings. No voice is in two splits, and for one seed its split is the
same in every task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.corpora.manifest import Listing
from speechprompt.corpora.registry import task_module
from speechprompt.corpora.synthetic.engines import ENGINES
from speechprompt.corpora.synthetic.persons import PersonVoice, assign_persons
from speechprompt.corpora.synthetic.speech import Sentence
from speechprompt.corpora.synthetic.synthesis import TABLE, Utterance, speak_utterances
from speechprompt.corpora.synthetic.voices import ACCENTS, Voice, assign_voices
from speechprompt.corpora.table import read_recordings
from speechprompt.errors import ConfigError
from speechprompt.storage.code_digest import digest

__all__ = ["list_recordings", "plan", "synthesise_corpus"]

ESPEAK = "espeak"
LOADER = "espeakng-loader"


def synthesise_corpus(
    corpus: SyntheticCorpus, out_dir: str | Path, *, seed: int, processes: int = 1
) -> Path:
    """Make the recordings of a corpus and their table.

    Args:
        corpus: The task, and the number of utterances in each split.
        out_dir: Folder of the corpus. An existing one with the same parameters is kept or
            completed, one with others is made anew.
        seed: Seed of the voices' split, the texts, deliveries and noises.
        processes: Number of processes; the result does not depend on it.

    Returns:
        The table, ``out_dir/corpus.csv``: ``path``, ``split``, ``speaker``, then the task's labels:
        ``label``; ``action``, ``object``, ``location``, ``text``; ``text``; or ``text``, ``tags``,
        ``intent``.

    Raises:
        CorpusError: the folder holds other files.
        SpeechError: eSpeak NG fails.
    """
    parameters = {
        "corpus": corpus.task,
        "seed": seed,
        "n_train": corpus.n_train,
        "n_valid": corpus.n_valid,
        "n_test": corpus.n_test,
        "plain": corpus.plain,
        "keywords": corpus.keywords,
        "languages": corpus.languages,
        "engines": {
            name: version(LOADER) if name == ESPEAK else ENGINES[name].version()
            for name in corpus.engines
        },
        LOADER: version(LOADER),
        "source": digest("corpora.synthetic.synthesis", task_module(corpus.task)),
    }
    return speak_utterances(out_dir, plan(corpus, seed), parameters, processes=processes)


def plan(corpus: SyntheticCorpus, seed: int) -> list[Utterance]:
    """Decide who says what in a corpus; the same arguments give the same utterances.

    Raises:
        ConfigError: the task is unknown, has no sentences and cannot be plain, or its keywords
            leave no other word.
    """
    sizes = {"train": corpus.n_train, "valid": corpus.n_valid, "test": corpus.n_test}
    chosen: dict[str, Any] = {"keywords": corpus.keywords} if corpus.keywords else {}
    if corpus.task == "words":
        chosen = {"languages": corpus.languages}
    task = import_module(f"speechprompt.{task_module(corpus.task)}")
    utterances = task.plan(seed, sizes, **chosen)
    if corpus.engines or (corpus.languages and corpus.task != "words"):
        voices: Mapping[str, Sequence[PersonVoice | Voice]] = (
            assign_persons(seed, _of_people(corpus))
            if corpus.engines
            else assign_voices(seed, corpus.languages)
        )
        utterances = [
            item
            if _is_foreign(item) or (ESPEAK in corpus.engines and _draws(item, 3).random() < 0.5)
            else _said_by(item, voices[item.recording.split])
            for item in utterances
        ]
    if not corpus.plain:
        return utterances
    if not all(isinstance(item, Sentence) for item in utterances):
        raise ConfigError(f"plain: only sentences can be said plainly, not task {corpus.task!r}")
    return [replace(item, plain=True) for item in utterances]


def _is_foreign(utterance: Any) -> bool:
    """Whether a language reads it that the engines do not speak."""
    return utterance.voice.accent not in ACCENTS


def _of_people(corpus: SyntheticCorpus) -> list[str]:
    """The engines whose voices come from people."""
    return [name for name in corpus.engines if name != ESPEAK]


def _draws(utterance: Any, purpose: int) -> np.random.Generator:
    """Draws of an utterance, apart from those of its text, delivery and acoustics."""
    return np.random.default_rng((*utterance.seed, purpose))


def _said_by(utterance: Any, voices: Sequence[PersonVoice | Voice]) -> Utterance:
    """Give an utterance of any task one of the voices; silence stays as it is."""
    recording = utterance.recording
    if recording.speaker is None:
        return utterance
    voice = voices[int(_draws(utterance, 2).integers(len(voices)))]
    path = recording.path.replace(recording.speaker, voice.name)
    return replace(
        utterance, voice=voice, recording=replace(recording, path=path, speaker=voice.name)
    )


def list_recordings(corpus: SyntheticCorpus, root: Path, seed: int) -> Listing:
    """List the recordings that :func:`synthesise_corpus` made in the root."""
    return Listing(*read_recordings(root / TABLE))
