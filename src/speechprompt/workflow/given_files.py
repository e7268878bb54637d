"""Files of the user that rules read: weights, checkpoints, dictionaries, unit texts, prompts."""

from pathlib import Path
from typing import Any

from speechprompt.config import Config
from speechprompt.config.corpora import UnitsCorpus
from speechprompt.config.references import all_behind
from speechprompt.config.tasks import Task
from speechprompt.units.text_forms import durations_beside
from speechprompt.workflow.paths import Wildcards, fingerprint_of

__all__ = ["GivenFiles", "unit_texts"]

SPLITS = ("train", "valid", "test")
# Sections of the configuration by the wildcards that name their blocks.
SECTIONS = {
    "encoder": "encoders",
    "codebook": "codebooks",
    "lm": "lm",
    "corpus": "corpora",
    "task": "tasks",
}


class GivenFiles:
    """The files behind the names in a set-up, other than its recordings and their tables."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._fingerprints: dict[tuple[tuple[str, str], ...], str] = {}

    def fingerprint(self, wildcards: Wildcards) -> str:
        """Sizes and times of the files behind what a job's wildcards name; empty without any."""
        names = tuple(
            (section, getattr(wildcards, kind))
            for kind, section in SECTIONS.items()
            if hasattr(wildcards, kind)
        )
        if names not in self._fingerprints:
            behind = (placed.block for name in names for placed in all_behind(self._config, *name))
            files = dict.fromkeys(path for block in behind for path in _files(block))
            self._fingerprints[names] = fingerprint_of(files) if files else ""
        return self._fingerprints[names]


def unit_texts(corpus: UnitsCorpus) -> dict[str, str]:
    """The files of a corpus that is quantised already, by the names that its rule gives them."""
    files = {name: getattr(corpus, name) for name in (*SPLITS, "table")}
    beside = {f"{name}_durations": durations_beside(files[name]) for name in SPLITS if files[name]}
    return {name: str(path) for name, path in {**files, **beside}.items() if path}


def _files(block: Any) -> list[str]:
    """The files that a block names; of a folder, those in it."""
    if isinstance(block, UnitsCorpus):
        return list(unit_texts(block).values())
    keys = ("weights", "checkpoint", "dictionary")
    start = block.prompt.start if isinstance(block, Task) else None
    paths = [start, *(getattr(block, key, None) for key in keys)]
    named = [Path(path) for path in paths if path]
    return [
        str(path) for one in named for path in (sorted(one.iterdir()) if one.is_dir() else [one])
    ]
