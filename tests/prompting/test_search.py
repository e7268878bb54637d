"""Searches over a whole batch give what searches utterance by utterance give, ties included."""

import numpy as np
import pytest
import torch

import reference_search
from random_models import TWO, random_units, task_model
from speechprompt.lm.cache import Cache
from speechprompt.prompting import search
from speechprompt.prompting.shared_batches import read_sources

COUNT = 17


def read(task, room):
    cache = Cache(room=room)
    hidden = read_sources([task], [0] * COUNT, random_units(COUNT), cache)
    return hidden, cache


@pytest.fixture(params=["generated", "two columns", "ties"])
def task(request):
    """A task whose answers are generated, have two labels, or whose scores are often equal."""
    task = task_model("cpu", allowed=TWO if request.param == "two columns" else None)
    if request.param == "ties":
        answer_scores = task.answer_scores

        def rounded(hidden, position):
            return answer_scores(hidden, position).round(decimals=0)

        task.answer_scores = rounded
    return task


def limits_of(task, longest):
    if task.allowed is not None:
        return [len(task.allowed)] * COUNT
    return np.random.default_rng(1).integers(1, longest + 1, COUNT).tolist()


@torch.no_grad()
@pytest.mark.parametrize("every", [1, 3, 8])
@pytest.mark.parametrize("longest", [1, 9])
def test_greedy_and_free(task, longest, every, monkeypatch):
    monkeypatch.setitem(search.STEPS_BETWEEN_LOOKS, "cpu", every)
    limits = limits_of(task, longest)
    expected = reference_search.greedy(task, *read(task, longest), limits)
    found = search.search_greedily(task, *read(task, longest), torch.tensor(limits)).to_lists()
    assert found[0] == expected[0]
    assert found[1] == pytest.approx(expected[1], abs=1e-4)
    prompt = task.prompt_tensors()
    expected = reference_search.free(task, *read(task, longest), limits, prompt)
    found = search.search_free(task, *read(task, longest), torch.tensor(limits)).to_lists()
    assert found[0] == expected[0]
    assert found[1] == pytest.approx(expected[1], abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("every", [1, 3, 8])
@pytest.mark.parametrize(("beam", "longest", "penalty"), [(2, 9, 1.0), (5, 9, 0.0), (12, 4, 0.5)])
def test_beam(task, beam, longest, penalty, every, monkeypatch):
    monkeypatch.setitem(search.STEPS_BETWEEN_LOOKS, "cpu", every)
    limits = limits_of(task, longest)
    longest = max(limits)
    expected = reference_search.beam_search(task, *read(task, longest), limits, beam, penalty)
    found = search.search_beam(
        task, *read(task, longest), torch.tensor(limits), beam=beam, length_penalty=penalty
    ).to_lists()
    assert found[0] == expected[0]
    assert found[1] == pytest.approx(expected[1], abs=1e-4)
