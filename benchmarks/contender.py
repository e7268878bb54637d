"""The interface of the implementations that are compared, and the update that they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from benchmarks.data import Workload
from speechprompt.tasks.examples import Examples

__all__ = ["DROPOUT", "Contender", "CountsOperations", "Update"]

# The published dropout of the prompt in training.
DROPOUT = 0.1


class Contender(Protocol):
    """An implementation of prompt tuning."""

    def training_batches(self, workload: Workload, size: int) -> list[Examples]:
        """Make batches for training as its users do."""

    def inference_batches(self, workload: Workload, size: int) -> list[Examples]:
        """Make batches for inference as its users do."""

    def update(self, batch: Examples) -> float:
        """Update the prompt once; return the loss per predicted token before the update."""

    def infer(self, batch: Examples, answer: int) -> float:
        """Generate ``answer`` labels per utterance; return the share of the work that was done."""


@runtime_checkable
class CountsOperations(Protocol):
    """A contender that knows the operations that its work needs."""

    def update_operations(self, batch: Examples) -> int:
        """Operations that an update needs."""

    def inference_operations(self, batch: Examples, answer: int) -> int:
        """Operations that the generation of ``answer`` labels per utterance needs."""


class Update:
    """Adam with the published settings and gradient clipping, for any set of trained tensors."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.adam = torch.optim.Adam(self.parameters, lr=5e-3, betas=(0.9, 0.98), fused=True)

    def start(self) -> None:
        """Clear the gradients of the last update."""
        self.adam.zero_grad(set_to_none=True)

    def finish(self, n_tokens: int) -> None:
        """Turn gradients of a summed loss into those of its mean over ``n_tokens``, and step."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad /= n_tokens
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
