"""Recordings of computations, with a stand-in for CUDA graphs that computes again when replayed."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from speechprompt.runtime import replay
from speechprompt.runtime.replay import Replay, ReplayedStep


class Graph:
    """Outputs stay empty until it is replayed, as those of a capture do."""

    newest = None

    def pool(self):
        return "pool"

    def replay(self):
        for output, computed in zip(self.outputs, self.compute(), strict=True):
            output.copy_(computed)


@pytest.fixture(autouse=True)
def graphs(monkeypatch):
    @contextmanager
    def recording(graph, pool=None):
        Graph.newest = graph
        yield
        Graph.newest = None

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(replay, "replays", lambda device: True)
    monkeypatch.setattr(replay, "MOST_RECORDINGS", 2)


def recordable(compute):
    """A computation that the stand-in can record."""

    def run(*inputs):
        if (graph := Graph.newest) is None:
            return compute(*inputs)
        graph.compute = lambda: compute(*inputs)
        graph.outputs = tuple(torch.full_like(output, torch.nan) for output in compute(*inputs))
        return graph.outputs

    return run


def test_replays_compute_from_their_own_inputs():
    def compute(tables, tensors):
        total = (tables["numbers"].sum() + tables["more"].sum()) * tensors[0].sum()
        return total, tensors[0] * 2

    computation = Replay(recordable(compute), torch.device("cpu"))
    kept = []
    for size in (3, 3, 3, 4, 4, 5, 5, 5, 3):
        tables = {"numbers": np.arange(size), "more": np.full((2, 1), size)}
        given = torch.rand(2)
        total, doubled = computation(tables, [given])
        kept.append((total, doubled, size * (size - 1) / 2 + 2 * size, given))
    for total, doubled, numbers, given in kept:  # nothing was overwritten by a later replay
        torch.testing.assert_close(total, numbers * given.sum())
        torch.testing.assert_close(doubled, 2 * given)
    recorded = [each is not None for each in computation._recordings.values()]
    assert recorded == [True, True, False]
    assert len(computation._tensors) == 1


def test_a_step_is_recorded_at_its_second_call():
    state = torch.zeros(2)

    def step(given):
        if (graph := Graph.newest) is not None:
            graph.compute, graph.outputs = (lambda: (step(given),)), (torch.empty(2),)
            return graph.outputs[0]
        return state.add_(given).clone()

    run = ReplayedStep(step)
    for number in range(1, 5):
        assert run(torch.full((2,), float(number))).tolist() == [number * (number + 1) / 2] * 2
    assert run.calls == 4
