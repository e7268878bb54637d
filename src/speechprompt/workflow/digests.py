"""The digest of the code behind each rule, from the verb that the rule runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

from speechprompt.cli.verbs import VERBS
from speechprompt.config import Config
from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.corpora.registry import listing_module, task_module
from speechprompt.storage.code_digest import digest
from speechprompt.workflow.blocks import block_of, encoder_behind
from speechprompt.workflow.given_files import GivenFiles
from speechprompt.workflow.paths import Wildcards

__all__ = ["Digests"]


@dataclass(frozen=True)
class Digests:
    """Digests as parameters of rules.

    Attributes:
        config: the set-up, which says what is behind a name: an encoder's or a corpus's kind.
    """

    config: Config

    def of(self, verb: str) -> Callable[[Wildcards], str]:
        """The function that gives a rule's digest, for its parameter ``code``.

        It hashes the functions that a verb calls and all code that they reach, once for all jobs of
        a rule that choose the same modules. Where files of the user's own are behind a job, their
        sizes and times follow: Snakemake itself notices only newer ones.

        Args:
            verb: as on the command line, such as ``fit-codebook``.

        Raises:
            KeyError: there is no such verb.
        """

        @cache
        def with_modules(*modules: str) -> str:
            return digest(*VERBS[verb].functions, *modules)

        def code(wildcards: Wildcards) -> str:
            code = with_modules(*self.registered(verb, wildcards))
            return f"{code} {self._given.fingerprint(wildcards)}".rstrip()

        return code

    @cached_property
    def _given(self) -> GivenFiles:
        return GivenFiles(self.config)

    def registered(self, verb: str, wildcards: Wildcards) -> tuple[str, ...]:
        """Modules that a verb's stage chooses by name, for one job."""
        match verb:
            case "synthesise-corpus" | "align-phones":
                corpus = block_of(self.config.corpora, wildcards.corpus, SyntheticCorpus)
                return (task_module(corpus.task),)
            case "prepare-corpus":
                return (listing_module(self.config.corpora[wildcards.corpus].kind),)
            case "extract-features":
                encoder = wildcards.encoder
            case "import-codebook" | "take-codebook":
                encoder = encoder_behind(self.config, wildcards.codebook)
            case "fit-acoustic-baseline":
                return ("encoders.mfcc",)
            case "train-downstream" | "score-downstream":
                lm = self.config.lm[self.config.tasks[wildcards.task].lm]
                encoder = encoder_behind(self.config, lm.codebook)
            case _:
                return ()
        return (f"encoders.{self.config.encoders[encoder].kind}",)
