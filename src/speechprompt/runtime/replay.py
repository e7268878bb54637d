"""Computations that a GPU replays as CUDA graphs, so that it need not wait for the host.

The host takes longer to start an operator than the GPU takes to compute a small one. A graph is
started at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechprompt.runtime.device import to_device

__all__ = ["Replay", "ReplayedStep", "replays"]

# Graphs of one computation. Further forms of inputs are computed without one.
MOST_RECORDINGS = 64

Tables = Mapping[str, Tensor]
Compute = Callable[[Tables, Sequence[Tensor]], tuple[Tensor, ...]]


def replays(device: torch.device) -> bool:
    """Whether computations on a device can be replayed."""
    return device.type == "cuda"


class Replay:
    """A computation that is recorded when inputs have a form for the second time.

    Args:
        compute: takes tables of whole numbers and further tensors. It waits for nothing and reads
            nothing else that changes its place in memory.
        device: where it runs; it is recorded on a GPU only.
    """

    def __init__(self, compute: Compute, device: torch.device) -> None:
        self.compute, self.device = compute, device
        self._recordings: dict[Any, _Recording | None] = {}
        self._tensors: dict[Any, list[Tensor]] = {}  # that graphs read, by their shapes
        self._pool: Any = None  # of memory, which all graphs share, as one runs at a time

    def __call__(
        self, tables: Mapping[str, np.ndarray], tensors: Sequence[Tensor] = ()
    ) -> tuple[Tensor, ...]:
        """Compute; the results of a replay are copies."""
        numbers = torch.from_numpy(np.concatenate([table.ravel() for table in tables.values()]))
        shapes = {name: table.shape for name, table in tables.items()}
        kinds = tuple(tuple(tensor.shape) for tensor in tensors)
        form = (*shapes.items(), *kinds)
        sent = to_device(numbers, self.device)
        if form not in self._recordings or not replays(self.device):
            self._recordings[form] = None
            return self.compute(_cut(sent, shapes), tensors)
        recording = self._recordings[form]
        if recording is None:
            if sum(each is not None for each in self._recordings.values()) == MOST_RECORDINGS:
                return self.compute(_cut(sent, shapes), tensors)
            if kinds not in self._tensors:
                self._tensors[kinds] = [tensor.detach().clone() for tensor in tensors]
            read = (sent.clone(), *self._tensors[kinds])
            recording = _Recording(self.compute, read, shapes, self._pool)
            self._recordings[form], self._pool = recording, recording.graph.pool()
        return recording.replay((sent, *tensors))


class ReplayedStep:
    """A step that is repeated, and changes tensors in place; it is recorded at its second call.

    Args:
        step: maps a tensor to another; see :class:`Replay`.
    """

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        self.step = step
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, given: Tensor) -> Tensor:
        """Take the step; the next one overwrites the result."""
        self.calls += 1
        if self.calls == 1 or not replays(given.device):
            return self.step(given)
        if self.graph is None:
            self.graph, self.input = torch.cuda.CUDAGraph(), given.clone()
            with torch.cuda.graph(self.graph):
                self.output = self.step(self.input)
        self.input.copy_(given)
        self.graph.replay()
        return self.output


class _Recording:
    """A CUDA graph with the tensors that it reads and writes."""

    def __init__(
        self,
        compute: Compute,
        read: Sequence[Tensor],
        shapes: Mapping[str, Sequence[int]],
        pool: Any,
    ) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.read = read
        with torch.cuda.graph(self.graph, pool=pool):
            numbers, *others = read
            self.outputs = compute(_cut(numbers, shapes), others)

    @torch.no_grad()
    def replay(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for own, given in zip(self.read, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return tuple(output.clone() for output in self.outputs)


def _cut(numbers: Tensor, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    parts = numbers.split([int(np.prod(shape)) for shape in shapes.values()])
    return {
        name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
