"""Resumable state of a training: tensors and JSON in one safetensors file, no pickle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechprompt.errors import ArtefactError
from speechprompt.runtime.progress import log
from speechprompt.storage.tensors import read_tensors, write_tensors

__all__ = ["Checkpoint"]


class Checkpoint:
    """Parameters, Adam's moments, best parameters so far and counters of one training.

    Args:
        path: the file, which no rule declares as an output; None keeps no checkpoints.
        fingerprint: hash of everything that the training depends on; a file with another is
            ignored.
        parameters: what is trained, by name.
        optimiser: an Adam or AdamW over exactly these parameters, in this order.
        seconds: how long to wait between two writes.
    """

    def __init__(
        self,
        path: str | Path | None,
        fingerprint: str,
        parameters: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
        seconds: float = 30.0,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.fingerprint = fingerprint
        self.parameters = dict(parameters)
        self.optimiser = optimiser
        self.seconds = seconds
        self.best = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._written = time.monotonic()

    def keep_best(self) -> None:
        """Remember the present parameters as the best ones."""
        for name, parameter in self.parameters.items():
            self.best[name].copy_(parameter.detach())

    def restore_best(self) -> None:
        """Put the best parameters back."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.best[name])

    def is_due(self) -> bool:
        """Whether there is a file to write, and it was not written a moment ago."""
        return self.path is not None and time.monotonic() - self._written >= self.seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write the file."""
        assert self.path is not None
        tensors = {}
        for name, parameter in self.parameters.items():
            tensors[f"now/{name}"] = parameter
            tensors[f"best/{name}"] = self.best[name]
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"adam.{key}/{name}"] = value
        write_tensors(self.path, tensors, {"fingerprint": self.fingerprint, "state": state})
        self._written = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Restore all tensors; return the state given to :meth:`save`, or None without a file."""
        if self.path is None or not self.path.exists():
            return None
        try:
            tensors, metadata = read_tensors(self.path)
        except ArtefactError:
            log(f"{self.path}: damaged checkpoint ignored, training starts again")
            return None
        if metadata.get("fingerprint") != self.fingerprint:
            log(f"{self.path}: checkpoint of another training ignored, training starts again")
            return None
        with torch.no_grad():
            for full, tensor in tensors.items():
                group, name = full.split("/", 1)
                parameter = self.parameters[name]
                if group == "now":
                    parameter.copy_(tensor)
                elif group == "best":
                    self.best[name].copy_(tensor)
                else:
                    key = group.removeprefix("adam.")
                    # The number of steps moves too: a fused optimiser reads it on the device.
                    self.optimiser.state[parameter][key] = tensor.to(parameter.device)
        log(f"{self.path}: training goes on from here")
        return metadata["state"]
