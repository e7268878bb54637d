"""The modules that list the recordings of a kind of corpus, and that plan a synthetic task.

Only their names are here. The workflow needs these before any job starts, without the modules.
"""

from importlib import import_module
from typing import Any

from speechprompt.config.corpora import SYNTHETIC_COLUMNS, ListedCorpus
from speechprompt.errors import ConfigError

__all__ = ["SYNTHETIC_TASKS", "listing_module", "listing_of", "task_module"]

# Other modules are named after the kind of the published corpus.
_UNPUBLISHED = {
    "csv": "corpora.table",
    "kaldi": "corpora.kaldi",
    "lhotse": "corpora.lhotse",
    "parquet": "corpora.parquet",
    "synthetic": "corpora.synthetic",
}
SYNTHETIC_TASKS = tuple(SYNTHETIC_COLUMNS)


def listing_module(kind: str) -> str:
    """Name, below the package, of the module that lists the recordings of a kind of corpus."""
    return _UNPUBLISHED.get(kind, f"corpora.published.{kind}")


def listing_of(corpus: ListedCorpus) -> Any:
    """The module that knows what a corpus's own files list; it loads pyarrow."""
    return import_module(f"speechprompt.{listing_module(corpus.kind)}")


def task_module(task: str) -> str:
    """Name, below the package, of the module that plans the utterances of a synthetic task.

    Raises:
        ConfigError: the task is not known.
    """
    if task not in SYNTHETIC_TASKS:
        known = ", ".join(SYNTHETIC_TASKS)
        raise ConfigError(f"synthetic corpus: expected a task of {known}, found {task!r}")
    return f"corpora.synthetic.{task}"
