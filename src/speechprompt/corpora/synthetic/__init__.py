"""Synthetic corpora, spoken by eSpeak NG: one module per task says what is spoken.

The acoustics are the same in all (``speech``). No voice is heard in two splits, and for one seed
the voices' split is the same in every task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.corpora.manifest import Listing
from speechprompt.corpora.registry import task_module
from speechprompt.corpora.synthetic.speech import Sentence
from speechprompt.corpora.synthetic.synthesis import TABLE, Utterance, synthesise_corpus
from speechprompt.corpora.table import read_recordings
from speechprompt.errors import ConfigError
from speechprompt.storage.code_digest import digest

__all__ = ["list_recordings", "plan_task", "synthesise"]


def synthesise(
    corpus: SyntheticCorpus, out_dir: str | Path, *, seed: int, processes: int = 1
) -> Path:
    """Make the recordings of a corpus and their table.

    Args:
        corpus: what is spoken, and how many utterances each split has.
        out_dir: Folder of the corpus; a finished or unfinished one is continued or kept where its
            parameters are the same, and made anew where they are not.
        seed: Seed of the voices' split, the texts, deliveries and noises.
        processes: Utterances made at a time; the result does not depend on it.

    Returns:
        The table, ``out_dir/corpus.csv``: ``path``, ``split``, ``speaker``, then the task's labels:
        ``label``; ``action``, ``object``, ``location``, ``text``; ``text``; or ``text``, ``tags``,
        ``intent``.

    Raises:
        CorpusError: the folder holds something else.
        SpeechError: eSpeak NG fails.
    """
    parameters = {
        "corpus": corpus.task,
        "seed": seed,
        "n_train": corpus.n_train,
        "n_valid": corpus.n_valid,
        "n_test": corpus.n_test,
        "plain": corpus.plain,
        "espeakng-loader": version("espeakng-loader"),
        "source": digest("corpora.synthetic.synthesis", task_module(corpus.task)),
    }
    return synthesise_corpus(out_dir, plan(corpus, seed), parameters, processes=processes)


def plan(corpus: SyntheticCorpus, seed: int) -> list[Utterance]:
    """Decide who says what in a corpus; the same arguments give the same utterances."""
    sizes = {"train": corpus.n_train, "valid": corpus.n_valid, "test": corpus.n_test}
    return plan_task(corpus.task, seed, sizes, corpus.plain)


def plan_task(
    task: str, seed: int, sizes: Mapping[str, int], plain: bool = False
) -> list[Utterance]:
    """Decide who says what in a task; the same arguments give the same utterances.

    Args:
        task: One of :data:`~speechprompt.corpora.registry.SYNTHETIC_TASKS`.
        seed: See :func:`synthesise`.
        sizes: Split -> number of utterances.
        plain: Each accent's own voice says the same sentences in quiet, in the same time: see
            :class:`~speechprompt.corpora.synthetic.speech.Sentence`.

    Raises:
        ConfigError: the task is not known, or does not consist of sentences and cannot be plain.
    """
    utterances = import_module(f"speechprompt.{task_module(task)}").plan(seed, sizes)
    if not plain:
        return utterances
    if not all(isinstance(item, Sentence) for item in utterances):
        raise ConfigError(f"plain: only sentences can be said plainly, not task {task!r}")
    return [replace(item, plain=True) for item in utterances]


def list_recordings(corpus: SyntheticCorpus, root: Path, seed: int) -> Listing:
    """List the recordings of a synthesised corpus.

    Args:
        corpus: settings, as :func:`synthesise` was given them.
        root: folder that :func:`synthesise` filled.
        seed: as for every corpus; nothing is drawn here.

    Raises:
        CorpusError: the folder has no finished corpus.
    """
    return Listing(*read_recordings(root / TABLE))
