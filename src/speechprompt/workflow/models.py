"""Models in the plan: published checkpoints, files of the user's own, or what is trained here."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechprompt.config import Config
from speechprompt.config.encoders import (
    FromHub,
    HubertEncoder,
    HubertPretraining,
    Imported,
    TransformerEncoder,
)
from speechprompt.config.models import UnitLmSettings
from speechprompt.config.values import block_to_json
from speechprompt.downloads.assets import ASSETS
from speechprompt.downloads.model_folder import folder_files
from speechprompt.models.shipped import SHIPPED
from speechprompt.workflow.blocks import block_of, encoder_behind
from speechprompt.workflow.corpora import Corpora
from speechprompt.workflow.paths import UNIT_LM, Wildcards, one_of, operand, options
from speechprompt.workflow.units import Units

__all__ = ["Models", "given"]

# Settings of an encoder that its own class does not take.
NOT_OF_THE_ENCODER = {
    *("sample_corpora", "sample_frames", "pretraining", "weights_of", "normalize"),
    *FromHub.model_fields,
}
# What the hub's client reads from the environment, and jobs elsewhere need.
HUB_VARIABLES = ("HF_TOKEN", "HF_ENDPOINT")


@dataclass(frozen=True)
class Models:
    """What the rules of encoders, codebooks and unit LMs ask for."""

    config: Config
    corpora: Corpora
    units: Units

    # Encoders

    def encoder(self, name: str) -> str:
        """An encoder's settings without its weights, as JSON."""
        return block_to_json(self.config.encoders[name], {*NOT_OF_THE_ENCODER, "weights"})

    def weights(self, name: str) -> list[str]:
        """The file of an encoder's weights: given, trained or imported; none where it has none."""
        block = self.config.encoders[name]
        if not isinstance(block, Imported):
            return []
        if isinstance(block, TransformerEncoder) and block.weights_of:
            return self.weights(block.weights_of)
        if isinstance(block, HubertEncoder) and block.pretraining:
            return [f"results/encoders/{name}/model.safetensors"]
        if block.weights:
            return [given(block.weights)]
        return [f"resources/models/{name}/model.safetensors"]

    def encoder_of(self, wildcards: Wildcards) -> str:
        """Name of the encoder that the wildcards name, or of the one behind a codebook."""
        if hasattr(wildcards, "encoder"):
            return wildcards.encoder
        return encoder_behind(self.config, wildcards.codebook)

    def encoder_options(self, wildcards: Wildcards, input: Any) -> str:
        """Settings and weights of :meth:`encoder_of`; no weights for an encoder without any."""
        settings = self.encoder(self.encoder_of(wildcards))
        return options(encoder=settings, encoder_weights=input.weights)

    def encoder_weights(self, wildcards: Wildcards) -> list[str]:
        """Weights of :meth:`encoder_of`."""
        return self.weights(self.encoder_of(wildcards))

    def pretrained_encoders(self) -> list[str]:
        """Names of the encoders that are trained here."""
        return [
            n for n, block in self.config.encoders.items() if getattr(block, "pretraining", None)
        ]

    def pretraining_files(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """What an encoder's pre-training reads."""
        pretraining = self._pretraining(wildcards)
        taught_by = pretraining.target_corpora or pretraining.corpora
        split = [(pretraining.targets, corpus, "train") for corpus in taught_by]
        return {
            "units": [self.units.index(*one) for one in split],
            "parts": [part for one in split for part in self.units.parts(*one)],
            "heard": [self.corpora.manifest(corpus, "train") for corpus in pretraining.corpora],
            "start": self.weights(pretraining.start) if pretraining.start else [],
        }

    def heard_recordings(self, wildcards: Wildcards) -> list[str]:
        """The audio of an encoder's pre-training."""
        corpora = self._pretraining(wildcards).corpora
        return [path for name in corpora for path in self.corpora.recordings(name, "train")]

    def pretraining_settings(self, wildcards: Wildcards) -> str:
        """The block of an encoder's pre-training."""
        return block_to_json(self._pretraining(wildcards))

    def start_option(self, wildcards: Wildcards, input: Any) -> str:
        """The model that a pre-training goes on from, as an option."""
        return options(start_from=input.start)

    def _pretraining(self, wildcards: Wildcards) -> HubertPretraining:
        pretraining = block_of(self.config.encoders, wildcards.encoder, HubertEncoder).pretraining
        assert pretraining is not None  # trained_encoders() names no others
        return pretraining

    # Unit LMs

    def lm_files(self, wildcards: Wildcards) -> dict[str, Any]:
        """What a unit LM's pre-training reads."""
        lm = block_of(self.config.lm, wildcards.lm, UnitLmSettings)
        splits = [(lm.codebook, corpus, "train") for corpus in lm.corpora]
        return {
            "units": [self.units.index(*split) for split in splits],
            "parts": [part for split in splits for part in self.units.parts(*split)],
            "codebook": self.units.source(lm.codebook),
            "start": [] if lm.start is None else [UNIT_LM.format(lm=lm.start)],
        }

    def lm_settings(self, wildcards: Wildcards) -> str:
        """The block of a unit LM's pre-training."""
        return block_to_json(self.config.lm[wildcards.lm])

    def lm_codebook(self, wildcards: Wildcards) -> str:
        """What the codebook of a unit LM is hashed from."""
        return self.units.source(self.config.lm[wildcards.lm].codebook)

    # Models that are there already

    def given(self, wildcards: Wildcards) -> str:
        """A model that is taken as it is."""
        return given(self._block(wildcards).weights)

    def checkpoint(self, wildcards: Wildcards) -> str:
        """What is imported: a published file after its download, or the user's own."""
        block = self._block(wildcards)
        if getattr(block, "revision", None):
            return _hub_folder(block.checkpoint, block.revision)
        folder = "resources/models/published/" if block.published else ""
        return operand(f"{folder}{block.checkpoint}")

    def checkpoint_files(self, wildcards: Wildcards) -> list[str]:
        """Do :meth:`checkpoint`; of a folder, the files that are imported, config.json first.

        A folder that a rule makes has its own name.
        """
        checkpoint = self.checkpoint(wildcards)
        if not getattr(self._block(wildcards), "revision", None) and Path(checkpoint).is_dir():
            return [str(path) for path in folder_files(checkpoint)]
        return [checkpoint]

    def import_options(self, wildcards: Wildcards) -> str:
        """Published files must have their published sum; the user's own may be trusted."""
        block = self._block(wildcards)
        asset = ASSETS.get(block.checkpoint)
        normalize = getattr(block, "normalize", None)
        return options(
            sha256=asset and asset.sha256,
            normalize=None if normalize is None else str(normalize).lower(),
            trust=block.trust,
        )

    def import_verb(self, wildcards: Wildcards) -> str:
        """The verb that imports a kind of encoder."""
        return f"import-{self.config.encoders[wildcards.encoder].kind}"

    def copy_of(self, wildcards: Wildcards) -> str:
        """The option that names the user's copy of a published file, where there is one."""
        roots = {b.root for b in self._imported() if b.checkpoint == wildcards.asset and b.root}
        return options(root=min(roots, default=None))

    def shipped(self) -> str:
        """Constraint: the models that ship with the package."""
        return one_of(SHIPPED)

    def hub_repository(self, wildcards: Wildcards) -> str:
        """The model of the Hugging Face hub that a folder is fetched from."""
        return self._hub_models()[wildcards.repository, wildcards.revision]

    def hub_repositories(self) -> str:
        """Constraint: the models of the Hugging Face hub, by the names of their folders."""
        return one_of(re.escape(name) for name, _ in self._hub_models())

    def hub_revisions(self) -> str:
        """Constraint: their revisions."""
        return one_of({revision for _, revision in self._hub_models()})

    def hub_variables(self) -> list[str]:
        """The variables that are passed on to jobs: those that are set, if the hub is used."""
        uses_hub = self._hub_models() or self.corpora.uses_hub
        return [name for name in HUB_VARIABLES if uses_hub and name in os.environ]

    def _hub_models(self) -> dict[tuple[str, str], str]:
        """Models of the hub by the name of their folder and their revision."""
        blocks = [b for b in self._imported() if isinstance(b, FromHub) and b.revision]
        return {
            (_in_a_path(b.checkpoint), b.revision): b.checkpoint
            for b in blocks
            if b.checkpoint and b.revision
        }

    def published(self) -> str:
        """Constraint: the published files that the set-up needs."""
        return one_of(b.checkpoint for b in self._imported() if b.published and b.checkpoint)

    def imported_encoders(self) -> str:
        """Constraint: the encoders that are imported from a checkpoint."""
        blocks = self.config.encoders.items()
        return one_of(n for n, b in blocks if isinstance(b, Imported) and b.checkpoint)

    def trained_encoders(self) -> str:
        """Constraint: the encoders that are trained here."""
        return one_of(self.pretrained_encoders())

    def of_kind(self, section: str, kind: str) -> str:
        """Constraint: the codebooks or unit LMs of one kind."""
        blocks = getattr(self.config, section).items()
        return one_of(name for name, block in blocks if block.kind == kind)

    def _block(self, wildcards: Wildcards) -> Any:
        """The block of the encoder, codebook or unit LM that the wildcards name."""
        sections = {"encoder": "encoders", "codebook": "codebooks", "lm": "lm"}
        (name,) = (name for name in sections if hasattr(wildcards, name))
        return getattr(self.config, sections[name])[getattr(wildcards, name)]

    def _imported(self) -> list[Imported]:
        sections = (self.config.encoders, self.config.codebooks, self.config.lm)
        blocks = [block for section in sections for block in section.values()]
        return [block for block in blocks if isinstance(block, Imported) and block.checkpoint]


def _in_a_path(repository: str) -> str:
    """A model's name on the hub as the hub's own cache has it in paths."""
    return repository.replace("/", "--")


def _hub_folder(repository: str, revision: str) -> str:
    return f"resources/models/hub/{_in_a_path(repository)}/{revision}"


def given(weights: str) -> str:
    """A shipped model's place after it was verified, or the user's own file."""
    return f"resources/models/shipped/{weights}" if weights in SHIPPED else operand(weights)
