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

from speechprompt.corpora.synthetic.speech import Sentence
from speechprompt.corpora.synthetic.synthesis import TABLE, Utterance, synthesise_corpus
from speechprompt.corpora.table import prepare_table
from speechprompt.errors import ConfigError
from speechprompt.storage.code_digest import digest

__all__ = ["SYNTHETIC_TASKS", "plan_task", "prepare_synthetic", "synthesise"]

# Also the modules' names. A new task is a module with ``plan``, and a name here.
SYNTHETIC_TASKS = (
    "keyword_spotting",
    "intent_classification",
    "transcription",
    "slot_filling",
    "english",
)


def synthesise(
    task: str,
    out_dir: str | Path,
    *,
    seed: int,
    n_train: int = 3600,
    n_valid: int = 600,
    n_test: int = 1200,
    plain: bool = False,
    processes: int = 1,
) -> Path:
    """Make the recordings of a task and their table.

    Args:
        task: One of :data:`SYNTHETIC_TASKS`.
        out_dir: Folder of the corpus; a finished or unfinished one is continued or kept where its
            parameters are the same, and made anew where they are not.
        seed: Seed of the voices' split, the texts, deliveries and noises.
        n_train: Utterances of train, the classes evenly; likewise the following.
        n_valid: Utterances of valid.
        n_test: Utterances of test.
        plain: See :func:`plan_task`.
        processes: Utterances made at a time; the result does not depend on it.

    Returns:
        The table, ``out_dir/corpus.csv``: ``path``, ``split``, ``speaker``, then the task's labels:
        ``label``; ``action``, ``object``, ``location``, ``text``; ``text``; or ``text``, ``tags``,
        ``intent``.

    Raises:
        ConfigError: the task is not known.
        CorpusError: the folder holds something else.
        SpeechError: eSpeak NG fails.
    """
    sizes = {"train": n_train, "valid": n_valid, "test": n_test}
    utterances = plan_task(task, seed, sizes, plain)
    parameters = {
        "corpus": task,
        "seed": seed,
        **{f"n_{split}": size for split, size in sizes.items()},
        "plain": plain,
        "espeakng-loader": version("espeakng-loader"),
        "source": digest("corpora.synthetic.synthesis", f"corpora.synthetic.{task}"),
    }
    return synthesise_corpus(out_dir, utterances, parameters, processes=processes)


def plan_task(
    task: str, seed: int, sizes: Mapping[str, int], plain: bool = False
) -> list[Utterance]:
    """Decide who says what in a task; the same arguments give the same utterances.

    Args:
        task: One of :data:`SYNTHETIC_TASKS`.
        seed: See :func:`synthesise`.
        sizes: Split -> number of utterances.
        plain: Each accent's own voice says the same sentences in quiet, in the same time: see
            :class:`~speechprompt.corpora.synthetic.speech.Sentence`.

    Raises:
        ConfigError: the task is not known, or does not consist of sentences and cannot be plain.
    """
    if task not in SYNTHETIC_TASKS:
        known = ", ".join(SYNTHETIC_TASKS)
        raise ConfigError(f"synthetic corpus: expected a task of {known}, found {task!r}")
    utterances = import_module(f"speechprompt.corpora.synthetic.{task}").plan(seed, sizes)
    if not plain:
        return utterances
    if not all(isinstance(item, Sentence) for item in utterances):
        raise ConfigError(f"plain: only sentences can be said plainly, not task {task!r}")
    return [replace(item, plain=True) for item in utterances]


def prepare_synthetic(
    root: str | Path,
    out_dir: str | Path,
    *,
    seed: int,
    max_rejected: float = 0.01,
    threads: int = 1,
) -> dict[str, int]:
    """Turn a synthesised corpus into manifests.

    Args:
        root: Folder that :func:`synthesise` filled.
        out_dir: Folder of the manifests.
        seed: See :func:`~speechprompt.corpora.manifest.write_manifests`, as for the following.
        max_rejected: Largest share of unusable recordings that is passed over.
        threads: Recordings decoded at a time.

    Returns:
        Utterances per split.

    Raises:
        CorpusError: the folder has no finished corpus, or as for ``write_manifests``.
    """
    return prepare_table(
        Path(root) / TABLE, out_dir, seed=seed, max_rejected=max_rejected, threads=threads
    )
