"""Files of the user's own that rules read: weights, checkpoints, dictionaries, unit sequences."""

from pathlib import Path
from typing import Any

from speechprompt.config import Config
from speechprompt.config.corpora import UnitsCorpus
from speechprompt.config.crossvalidation import FoldCorpus
from speechprompt.units.text_forms import durations_beside
from speechprompt.workflow.paths import Wildcards, fingerprint_of

__all__ = ["GivenFiles", "unit_texts"]

SPLITS = ("train", "valid", "test")


class GivenFiles:
    """The files behind the names in a set-up, other than its recordings and their tables."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._fingerprints: dict[tuple[tuple[str, str], ...], str] = {}

    def fingerprint(self, wildcards: Wildcards) -> str:
        """Sizes and times of the files behind what a job's wildcards name; empty without any."""
        kinds = ("encoder", "codebook", "lm", "corpus", "task")
        names = tuple(
            (kind, getattr(wildcards, kind)) for kind in kinds if hasattr(wildcards, kind)
        )
        if names not in self._fingerprints:
            files = dict.fromkeys(path for name in names for path in self._behind(*name))
            self._fingerprints[names] = fingerprint_of(files) if files else ""
        return self._fingerprints[names]

    def _behind(self, kind: str, name: str) -> list[str]:
        config: Any = self._config
        match kind:
            case "encoder":
                block = config.encoders[name]
                trained = getattr(block, "pretraining", None)
                others = [
                    ("encoder", getattr(block, "weights_of", None)),
                    ("encoder", getattr(trained, "start", None)),
                    ("codebook", getattr(trained, "targets", None)),
                ]
            case "codebook":
                block = config.codebooks[name]
                others = [("encoder", getattr(block, "encoder", None))]
            case "lm":
                block = config.lm[name]
                others = [("codebook", block.codebook), ("lm", getattr(block, "start", None))]
            case "corpus":
                block = config.corpora[name]
                if isinstance(block, FoldCorpus):
                    return self._behind("corpus", block.of)
                if not isinstance(block, UnitsCorpus):
                    return []
                return [*unit_texts(block).values(), *self._behind("codebook", block.codebook)]
            case _:
                block = config.tasks[name]
                others = [("lm", block.lm), ("corpus", block.corpus)]
        keys = ("weights", "checkpoint", "dictionary")
        own = [getattr(block, key, None) for key in keys]
        return [
            *(path for given in own if given for path in _files(given)),
            *(path for one, other in others if other for path in self._behind(one, other)),
        ]


def unit_texts(corpus: UnitsCorpus) -> dict[str, str]:
    """The files of a corpus that is quantised already, by the names that its rule gives them."""
    files = {name: getattr(corpus, name) for name in (*SPLITS, "table")}
    beside = {f"{name}_durations": durations_beside(files[name]) for name in SPLITS if files[name]}
    return {name: str(path) for name, path in {**files, **beside}.items() if path}


def _files(given: str) -> list[str]:
    """A file, or those in a folder."""
    folder = Path(given)
    return sorted(map(str, folder.iterdir())) if folder.is_dir() else [given]
