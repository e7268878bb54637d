"""Resources in the plan: what this machine offers, and what the jobs of each rule ask for."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from speechprompt.config import Config
from speechprompt.config.corpora import PublishedCorpus, SyntheticCorpus
from speechprompt.config.encoders import Imported
from speechprompt.config.models import UnitLmSettings
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.downloads.assets import ASSETS
from speechprompt.runtime.gpus import SLOTS, gpu_slots, gpus
from speechprompt.workflow.blocks import block_of, speeds_of
from speechprompt.workflow.paths import Wildcards
from speechprompt.workflow.snakemake_internals import sizes_of

__all__ = ["Machine", "Resources"]

Resource = Callable[..., int]

# A CUDA context and torch's kernels for it take host memory too; an allowance, not measured.
CUDA_HOST_MB = 3000
# Memory for every byte of compressed units, read as Python's numbers: measured 70 for utterances
# of 400 units; 115 for those of 24, which are so few bytes that it does not matter.
UNITS_PER_BYTE = 80
MIB = 2**20


@dataclass(frozen=True)
class Machine:
    """What jobs compute on.

    Attributes:
        device: ``cpu`` or ``cuda``.
        gpu_slots: GPUs of this machine, each as often as jobs share it; none if jobs run elsewhere.
    """

    device: str
    gpu_slots: tuple[str, ...] = ()

    @classmethod
    def find(cls, config: Config, *, is_main: bool, is_cluster: bool) -> Self:
        """Look at this machine's hardware, unless other machines run the jobs.

        Args:
            config: the set-up; its ``device`` may be ``auto``.
            is_main: whether this is the process that plans, not one that runs a job.
            is_cluster: whether jobs are sent to other machines.
        """
        device = config.device
        if device == "auto" and (is_cluster or not is_main):
            device = "cpu"
        slots: tuple[str, ...] = ()
        if device != "cpu" and is_main:
            slots = tuple(gpu_slots(gpus(), config.jobs_per_gpu))
        if device == "auto":
            device = "cuda" if slots else "cpu"
        return cls(device, slots)


@dataclass(frozen=True)
class Resources:
    """What the jobs of rules ask for."""

    config: Config
    machine: Machine

    @property
    def lm_threads(self) -> int:
        """Threads of a job that pre-trains."""
        return self.config.lm_threads or self.config.compute_threads

    @property
    def gpu(self) -> int | None:
        """GPUs of a job that computes with a network.

        None leaves the request out: a cluster that is asked for 0 may still want to know which.
        """
        return 1 if self.machine.device == "cuda" else None

    @property
    def host_mb(self) -> int:
        """Memory of the host that a job on a GPU needs beside its own."""
        return CUDA_HOST_MB if self.machine.device == "cuda" else 0

    def environment(self, checkout: str | Path) -> str:
        """Shell text before every command: what runs a job but changes no result.

        It is no parameter, so that another machine re-runs nothing.

        Args:
            checkout: where envs/speechprompt.post-deploy.sh finds the package.
        """
        variables = {
            "SPEECHPROMPT_COMPUTE_THREADS": self.config.compute_threads,
            "SPEECHPROMPT_LM_THREADS": self.lm_threads,
            "SPEECHPROMPT_DEVICE": self.machine.device,
            SLOTS: ",".join(self.machine.gpu_slots),
            "SPEECHPROMPT_CHECKOUT": checkout,
        }
        words = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in variables.items())
        # Last on the path: where no environment is activated, the command line of the package is
        # found beside Snakemake.
        programs = shlex.quote(str(Path(sys.executable).parent))
        return f'export {words} PATH="$PATH":{programs}; '

    def needs(
        self,
        memory: int | Resource,
        per_mb: float = 0,
        *,
        minutes: int,
        network: bool = False,
    ) -> dict[str, Any]:
        """Memory and time of a rule, and a GPU if it computes with a network.

        Args:
            memory: as ``base`` of :meth:`memory`, or the memory of one job as a function.
            per_mb: as for :meth:`memory`.
            minutes: as for :meth:`minutes`.
            network: whether it computes with a network, on a GPU where there is one.
        """
        mem_mb = memory if callable(memory) else self.memory(memory, per_mb, network=network)
        gpu = {"gpu": self.gpu} if network else {}
        return {"mem_mb": mem_mb, "runtime": self.minutes(minutes), **gpu}

    def memory(self, base: int, per_mb: float = 0, *, network: bool = False) -> Resource:
        """``mem_mb`` of a rule, twice that in the second attempt, and so on.

        Args:
            base: MB whatever a job reads.
            per_mb: MB per MB that it reads.
            network: whether it computes with a network, on a GPU where there is one.
        """
        base += self.host_mb if network else 0

        def mem_mb(wildcards: Wildcards, input: Any, attempt: int) -> int:
            return attempt * round(base + needed_mb(input, per_mb))

        return mem_mb

    def minutes(self, count: int) -> Resource:
        """``runtime`` of a rule, and more with every attempt."""

        def runtime(wildcards: Wildcards, attempt: int) -> int:
            return attempt * count

        return runtime

    def encoding_gpu(self, wildcards: Wildcards) -> int | None:
        """GPUs of a job that encodes; an encoder without a network is not worth one."""
        return self.gpu if self._has_network(wildcards) else None

    def encoding_memory(self, wildcards: Wildcards, input: Any, attempt: int) -> int:
        """Weights as they are read, in float32, and laid out for products."""
        host = self.host_mb if self._has_network(wildcards) else 0
        return attempt * round(1500 + host + needed_mb(input, 3))

    def encoding_disk(self, wildcards: Wildcards, input: Any, attempt: int) -> int:
        """A shard's features: 15 s of HuBERT base for every row of a long utterances' manifest."""
        rows_mb = sum(size for path, size in sizes_of(input) if path == str(input.manifest)) / 1e6
        times = 1 + len(speeds_of(self.config.corpora[wildcards.corpus]))
        return attempt * round(1000 + 10000 * times * rows_mb / int(wildcards.parts))

    def synthesis_disk(self, wildcards: Wildcards) -> int:
        """Measured: 40 to 75 KB an utterance of the embedded corpora; others have longer ones."""
        corpus = block_of(self.config.corpora, wildcards.corpus, SyntheticCorpus)
        return 1000 + (corpus.n_train + corpus.n_valid + corpus.n_test) // 4

    def download_disk(self, wildcards: Wildcards) -> int:
        """An archive and what it unpacks to; a copy that is there is only linked to."""
        corpus = block_of(self.config.corpora, wildcards.corpus, PublishedCorpus)
        if corpus.root:
            return 1000
        sources = SOURCES[self.config.corpora[wildcards.corpus].kind]
        (asset,) = (ASSETS[one.asset] for one in sources if one.folder == wildcards.folder)
        return 1000 + ((asset.size or asset.max_unpacked) + asset.max_unpacked) // 10**6

    def lm_memory(self, wildcards: Wildcards, input: Any, attempt: int) -> int:
        """Weights, gradients, Adam's moments, the best so far, and copies to write them."""
        lm = block_of(self.config.lm, wildcards.lm, UnitLmSettings)
        weights = 4e-6 * lm.layers * (4 * lm.dim**2 + 2 * lm.dim * lm.ffn)
        return attempt * round(2500 + self.host_mb + 8 * weights + needed_mb(input, 0))

    def training_memory(self, wildcards: Wildcards, input: Any, attempt: int) -> int:
        """The unit LM's weights; in fine-tuning also what :meth:`lm_memory` counts."""
        copies = 4 if wildcards.method == "prompt" else 10
        return attempt * round(2500 + self.host_mb + needed_mb(input, copies))

    def _has_network(self, wildcards: Wildcards) -> bool:
        return isinstance(self.config.encoders[wildcards.encoder], Imported)


def needed_mb(input: Any, per_mb: float) -> float:
    """Memory for what a job reads: so much per MB of its files, and its units as numbers.

    What is not there yet does not count: Snakemake asks again when it is.
    """
    indexed = {Path(path).parent for path in map(str, input) if Path(path).name == "index.json"}
    recordings = set(map(str, input.get("recordings", [])))
    total = 0.0
    for path, size in sizes_of(input):
        if Path(path).parent in indexed and Path(path).suffix == ".parquet":
            total += UNITS_PER_BYTE * size / 1e6
        elif path not in recordings:
            total += per_mb * size / MIB
    return total
