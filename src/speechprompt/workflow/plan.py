"""The plan of a run: all that the rules compute, from the checked configuration."""

from typing import get_args

from speechprompt.config import Config
from speechprompt.config.tasks import Method, VerbalizerKind
from speechprompt.workflow.corpora import Corpora
from speechprompt.workflow.digests import Digests
from speechprompt.workflow.folds import Folds, with_folds
from speechprompt.workflow.models import Models
from speechprompt.workflow.paths import Wildcards, one_of
from speechprompt.workflow.resources import Machine, Resources
from speechprompt.workflow.results import Results
from speechprompt.workflow.sweep import Sweep
from speechprompt.workflow.tasks import Tasks
from speechprompt.workflow.units import Units

__all__ = ["Plan"]


class Plan:
    """What the rules ask for, by the part of the workflow.

    Functions of wildcards are given to rules as they are; the others are called.

    Attributes:
        config: the set-up, with a corpus and a task for every fold.
        machine: what jobs compute on; by default the processor.
        corpora: recordings and manifests.
        units: features, codebooks and units.
        models: encoders, codebooks and unit LMs.
        folds: folds of corpora, and scores that are pooled from theirs.
        tasks: trainings, scores and baselines.
        sweep: trainings of a sweep.
        results: tables, pictures and targets.
        resources: memory, time, GPUs and disk.
        code_of: the digest of the code behind a rule, from its verb.
    """

    def __init__(self, config: Config, machine: Machine | None = None) -> None:
        self.machine = machine or Machine("cpu")
        written, config = config, with_folds(config)
        self.config = config
        self.corpora = Corpora(config)
        self.units = Units(config, self.corpora)
        self.models = Models(config, self.corpora, self.units)
        self.folds = Folds(config, self.units)
        self.tasks = Tasks(config, self.models)
        self.sweep = Sweep(config, self.models)
        self.results = Results(written, self.models, self.sweep)
        self.resources = Resources(config, self.machine)
        self.code_of = Digests(config).of

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
