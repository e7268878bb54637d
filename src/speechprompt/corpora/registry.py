"""Which module lists a kind of corpus, and which one plans a synthetic task.

Nothing of them is imported here, so that the workflow can ask for names before any job starts.
"""

from __future__ import annotations

from speechprompt.errors import ConfigError

__all__ = ["SYNTHETIC_TASKS", "listing_module", "task_module"]

# Kind of a corpus -> module below `corpora` whose `list_recordings` lists its recordings.
# A new kind is a module and a line here.
_LISTED_BY = {
    "audio_snips": "published.audio_snips",
    "csv": "table",
    "fluent_speech_commands": "published.fluent_speech_commands",
    "fsdd": "published.fsdd",
    "librispeech": "published.librispeech",
    "speech_commands": "published.speech_commands",
    "synthetic": "synthetic",
}
# Also the names of modules below `corpora.synthetic`. A new task is a module with `plan`, and a
# name here.
SYNTHETIC_TASKS = (
    "keyword_spotting",
    "intent_classification",
    "transcription",
    "slot_filling",
    "english",
)


def listing_module(kind: str) -> str:
    """Name, below the package, of the module that lists the recordings of a kind of corpus."""
    return f"corpora.{_LISTED_BY[kind]}"


def task_module(task: str) -> str:
    """Name, below the package, of the module that plans what is spoken in a synthetic task.

    Raises:
        ConfigError: the task is not known.
    """
    if task not in SYNTHETIC_TASKS:
        known = ", ".join(SYNTHETIC_TASKS)
        raise ConfigError(f"synthetic corpus: expected a task of {known}, found {task!r}")
    return f"corpora.synthetic.{task}"
