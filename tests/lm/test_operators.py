"""How many of torch's operators a layer issues. A GPU waits for each, whatever the batch."""

import numpy as np
import pytest
import torch
from torch.nn.attention.bias import causal_lower_right
from torch.profiler import ProfilerActivity, profile

from random_models import examples, random_lm, random_units
from speechprompt.config.tasks import PromptSettings
from speechprompt.lm import Dictionary, LoadedLM
from speechprompt.lm.cache import Cache
from speechprompt.lm.packing import pack
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.tasks.verbalizer import Verbalizer
from speechprompt.training.loop import _step

LAYERS = 12
COLUMN = [[0, 1, 2]]


@pytest.fixture(scope="module")
def task():
    lm = random_lm(layers=LAYERS).freeze()
    prompt = Prompt(lm.config, PromptSettings(length=5), torch.Generator().manual_seed(1))
    loaded = LoadedLM(lm, Dictionary(range(20)), "lm", "codebook", {})
    return TaskModel(loaded, prompt, Verbalizer("frequency", range(3), 20), COLUMN)


def count_operators(run):
    """Operators that are not part of another operator."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    events = [event for event in profiler.events() if event.name.startswith("aten::")]
    inner = ("aten::",)
    return sum(1 for e in events if not (e.cpu_parent and e.cpu_parent.name.startswith(inner)))


def update_of(task, n):
    """A whole update: forward, backward, clipping and AdamW."""
    batch, parameters = examples(n, COLUMN), task.named_parameters()
    optimiser = torch.optim.AdamW(parameters.values(), fused=True)

    def update():
        optimiser.zero_grad(set_to_none=True)
        loss = task.loss(batch.units, batch.labels, task.prompt_tensors(1))
        loss.total.backward()
        _step(optimiser, parameters, 1.0, loss.n_tokens)

    return update


def test_an_update_takes_at_most_60_operators_a_layer_whatever_the_batch(task):
    small, large = (count_operators(update_of(task, n)) for n in (4, 64))
    assert small == large
    print(large)
    assert large <= 60 * LAYERS


@torch.no_grad()
def test_a_decoding_step_takes_at_most_25_operators_a_layer_whatever_the_batch(task):
    def steps(n):
        cache = Cache(room=2)
        task.model(task.pack(random_units(n)), task.prompt_tensors(), cache)
        tokens = torch.full((n,), 5)
        return lambda: task.model.step(tokens, cache)

    small, large = (count_operators(steps(n)) for n in (4, 64))
    assert small == large
    assert large <= 25 * LAYERS


@pytest.mark.parametrize("mode", ["deep", "input", "both", "infix"])
def test_masks_are_what_a_gpu_is_told_instead(mode):
    """Causal, and the last query sees the last key."""
    lm = random_lm().freeze()
    layers = [1] if mode in ("both", "infix") else None
    prompt = Prompt(lm.config, PromptSettings(mode=mode, length=3, layers=layers))
    loaded = LoadedLM(lm, Dictionary(range(20)), "lm", "codebook", {})
    batch = TaskModel(loaded, prompt, Verbalizer("frequency", range(3), 20), COLUMN).pack(
        random_units(7)
    )
    for memory in (batch.plain, batch.deep):
        seen = causal_lower_right(*memory.mask.shape[-2:])._materialize("cpu")
        assert torch.equal(memory.mask[0, 0] == 0, seen)


def test_batching_has_no_loop_over_tokens_or_utterances():
    """The number of calls into numpy and torch does not depend on the batch."""
    import cProfile

    def calls(n):
        rows = [np.concatenate(([2], row + 4)) for row in random_units(n)]
        profiler = cProfile.Profile()
        profiler.enable()
        pack(rows, [len(row) - 1 for row in rows])
        profiler.disable()
        # Lists of the caller's sequences are all that grows.
        return sum(
            e.callcount
            for e in profiler.getstats()
            if "built-in method builtins.len" not in str(e.code)
        )

    assert calls(64) == calls(8)
