"""The digest of the code behind each rule, from the verb that the rule runs."""

from collections.abc import Callable
from dataclasses import dataclass

from speechprompt.cli.verbs import VERBS
from speechprompt.config import Config
from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.corpora.registry import listing_module, task_module
from speechprompt.encoders import encoder_module
from speechprompt.storage.code_digest import digest
from speechprompt.workflow.blocks import block_of, encoder_behind
from speechprompt.workflow.paths import Wildcards

__all__ = ["Digests", "digest_of_verb"]


def digest_of_verb(verb: str, *registered: str) -> str:
    """Hash the functions that a verb calls and all code that they reach.

    Args:
        verb: as on the command line, such as ``fit-codebook``.
        registered: modules that the stage chooses by name when it runs.

    Raises:
        KeyError: there is no such verb.
        ModuleNotFoundError: there is no such module.
    """
    return digest(*VERBS[verb].functions, *registered)


@dataclass(frozen=True)
class Digests:
    """Digests as parameters of rules.

    Attributes:
        config: the set-up, which says what is behind a name: an encoder's or a corpus's kind.
    """

    config: Config

    def of(self, verb: str) -> Callable[[Wildcards], str]:
        """The function that gives a rule's digest, for its parameter ``code``."""

        def code(wildcards: Wildcards) -> str:
            return digest_of_verb(verb, *self.registered(verb, wildcards))

        return code

    def registered(self, verb: str, wildcards: Wildcards) -> tuple[str, ...]:
        """Modules that a verb's stage chooses by name, for one job."""
        choose = {
            "synthesise-corpus": self._spoken,
            "align-phones": self._spoken,
            "prepare-corpus": self._listed,
            "extract-features": lambda w: self._encoding(w.encoder),
            "import-codebook": lambda w: self._encoding(encoder_behind(self.config, w.codebook)),
            "take-codebook": lambda w: self._encoding(encoder_behind(self.config, w.codebook)),
            "train-downstream": self._heard,
            "score-downstream": self._heard,
        }
        return (choose[verb](wildcards),) if verb in choose else ()

    def _spoken(self, wildcards: Wildcards) -> str:
        return task_module(block_of(self.config.corpora, wildcards.corpus, SyntheticCorpus).task)

    def _listed(self, wildcards: Wildcards) -> str:
        return listing_module(self.config.corpora[wildcards.corpus].kind)

    def _encoding(self, encoder: str) -> str:
        return encoder_module(self.config.encoders[encoder].kind)

    def _heard(self, wildcards: Wildcards) -> str:
        lm = self.config.lm[self.config.tasks[wildcards.task].lm]
        return self._encoding(encoder_behind(self.config, lm.codebook))
