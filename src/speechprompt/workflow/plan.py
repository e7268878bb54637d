"""The plan of a run: all that the rules compute, from the checked configuration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import get_args

from speechprompt.config import Config
from speechprompt.config.tasks import Method, VerbalizerKind
from speechprompt.workflow.corpora import Corpora
from speechprompt.workflow.digests import Digests
from speechprompt.workflow.models import Models
from speechprompt.workflow.paths import Wildcards, one_of
from speechprompt.workflow.resources import Machine, Resources
from speechprompt.workflow.results import Results
from speechprompt.workflow.sweep import Sweep
from speechprompt.workflow.tasks import Tasks
from speechprompt.workflow.units import Units

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """What the rules ask for, by the part of the workflow.

    Functions of wildcards are given to rules as they are; the others are called.

    Attributes:
        config: the set-up.
        machine: what jobs compute on.
    """

    config: Config
    machine: Machine = field(default=Machine("cpu"))

    @cached_property
    def corpora(self) -> Corpora:
        """Recordings and manifests."""
        return Corpora(self.config)

    @cached_property
    def units(self) -> Units:
        """Features, codebooks and units."""
        return Units(self.config, self.corpora)

    @cached_property
    def models(self) -> Models:
        """Encoders, codebooks and unit LMs."""
        return Models(self.config, self.corpora, self.units)

    @cached_property
    def tasks(self) -> Tasks:
        """Trainings, scores and baselines."""
        return Tasks(self.config, self.models)

    @cached_property
    def sweep(self) -> Sweep:
        """Trainings of a sweep."""
        return Sweep(self.config, self.models)

    @cached_property
    def results(self) -> Results:
        """Tables, pictures and targets."""
        return Results(self.config, self.models, self.sweep)

    @cached_property
    def resources(self) -> Resources:
        """Memory, time, GPUs and disk."""
        return Resources(self.config, self.machine)

    def code_of(self, verb: str) -> Callable[[Wildcards], str]:
        """The digest of the code behind a rule, from its verb."""
        return Digests(self.config).of(verb)

    def code_of_import(self, wildcards: Wildcards) -> str:
        """The digest of the code that imports an encoder of some kind."""
        return self.code_of(self.models.import_verb(wildcards))(wildcards)

    def wildcard_constraints(self) -> dict[str, str]:
        """What wildcards may match in all rules."""
        return {
            "corpus": one_of(self.config.corpora),
            "encoder": one_of(self.config.encoders),
            "codebook": one_of(self.config.codebooks),
            "lm": one_of(self.config.lm),
            "task": one_of(self.config.tasks),
            "split": "train|dev|valid|test",
            "part": r"\d{5}",
            "parts": r"\d{5}",
            "seed": r"\d+",
            "method": one_of(get_args(Method)),
            "verbalizer": one_of(get_args(VerbalizerKind)),
            "length": r"\d+",
            "utterances": r"\d+|all",
        }
