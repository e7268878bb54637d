"""Speed of the pre-training of a unit LM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle
from typing import Any

import numpy as np
import torch

from benchmarks.cases import MODELS, Case, Effort
from benchmarks.contender import Update
from benchmarks.data import make_workload
from benchmarks.machine import peak_memory
from benchmarks.operations import Tree, pretraining_operations
from benchmarks.timing import Timing, repeat
from speechprompt.config.models import UnitLmSettings
from speechprompt.lm import Dictionary, LMConfig, UnitLM
from speechprompt.lm.pretraining import UnitLmTraining
from speechprompt.runtime.device import make_deterministic
from speechprompt.runtime.precision import resolve_precision

__all__ = ["Pretraining", "measure_pretraining"]

_UPDATES = 4
_TOKENS = {"ks": 25, "asr": 400}


class Pretraining:
    """A unit LM that is trained whole from random weights, as the pipeline does.

    Args:
        config: shape of the unit LM.
        units: the utterances.
        case: the measurement; its batch is the number of tokens that an update reaches.
        device: cpu or cuda.
    """

    def __init__(
        self, config: LMConfig, units: Sequence[np.ndarray], case: Case, device: str = "cpu"
    ) -> None:
        make_deterministic(device)
        settings = UnitLmSettings(codebook="c", corpora=["c"], batch_tokens=case.batch)
        dictionary = Dictionary(range(config.n_symbols - 4))
        self.sentences = [dictionary.sentence(row) for row in units]
        torch.manual_seed(1)
        self.model = UnitLM(config, settings.dropout).to(device)
        splits = (np.arange(len(units)), np.arange(0))
        dtype = resolve_precision(case.precision, device)
        self.training = UnitLmTraining(self.model, settings, self.sentences, splits, 1, dtype)
        self.optimiser = Update(list(self.model.parameters()))

    def batches(self) -> list[list[int]]:
        """Batches of whole utterances that reach the number of tokens."""
        whole = self.training.batches(0)
        return whole[:-1] or whole  # the last one has the rest

    def update(self, batch: Sequence[int]) -> float:
        """Update all weights once; return the loss per token before the update."""
        self.optimiser.start()
        sums = self.training.backward(batch, seed=1)
        self.optimiser.finish(int(sums.weight))
        return float(sums.loss) / sums.weight

    def tokens(self, batch: Sequence[int]) -> int:
        """Number of predicted tokens."""
        return sum(len(self.sentences[i]) - 1 for i in batch)

    def operations(self, batch: Sequence[int]) -> int:
        """Operations that :meth:`update` needs."""
        sequences = [self.sentences[i][:-1] for i in batch]
        return pretraining_operations(self.model.config, Tree.of(sequences, [0] * len(sequences)))


def measure_pretraining(
    case: Case, effort: Effort, units_file: str | None, device: str = "cpu"
) -> dict[str, Any]:
    """Time updates.

    Returns:
        The values of :func:`benchmarks.measure.measure`, and ``tokens_per_second``.
    """
    n = 2 + (_UPDATES + 1) * case.batch // _TOKENS[case.lengths]
    units = make_workload(case.lengths, n, units_file).examples.units
    pretraining = Pretraining(MODELS[case.model], units, case, device)
    batches = pretraining.batches()

    def run(batch: Sequence[int]) -> float:
        pretraining.update(batch)
        return 1.0

    run(batches[0] if device == "cuda" else batches[0][: -(-len(batches[0]) // 4)])  # warm up
    timing: Timing[Sequence[int]] = repeat(run, cycle(batches), effort, device)
    needed = {id(batch): pretraining.operations(batch) for batch in batches}
    return {
        **asdict(case),
        "utterances_per_second": sum(map(len, timing.used)) / timing.total,
        "tokens_per_second": sum(map(pretraining.tokens, timing.used)) / timing.total,
        **timing.summary(),
        "gflops": 1e-9 * sum(needed[id(batch)] for batch in timing.used) / timing.total,
        "peak_bytes": peak_memory(device),
    }
