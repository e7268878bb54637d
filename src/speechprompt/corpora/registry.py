"""The modules that list the recordings of a kind of corpus, and that plan a synthetic task.

Only their names are here. The workflow needs these before any job starts, without the modules.
"""

from speechprompt.config.corpora import SYNTHETIC_COLUMNS
from speechprompt.errors import ConfigError

__all__ = ["SYNTHETIC_TASKS", "listing_module", "task_module"]

# Other modules are named after the kind of the published corpus.
_UNPUBLISHED = {"csv": "corpora.table", "synthetic": "corpora.synthetic"}
SYNTHETIC_TASKS = tuple(SYNTHETIC_COLUMNS)


def listing_module(kind: str) -> str:
    """Name, below the package, of the module that lists the recordings of a kind of corpus."""
    return _UNPUBLISHED.get(kind, f"corpora.published.{kind}")


def task_module(task: str) -> str:
    """Name, below the package, of the module that plans the utterances of a synthetic task.

    Raises:
        ConfigError: the task is not known.
    """
    if task not in SYNTHETIC_TASKS:
        known = ", ".join(SYNTHETIC_TASKS)
        raise ConfigError(f"synthetic corpus: expected a task of {known}, found {task!r}")
    return f"corpora.synthetic.{task}"
