"""Members of a prompt: each is a prompt of its own, and the answer is their mean."""

import numpy as np
import pytest
import torch

from random_models import TWO, examples, task_model
from speechprompt.config.tasks import Task
from speechprompt.prompting.decoding import predict

MEMBERS = 3


def alone(task, member):
    """A task with one of the members alone."""
    single = task_model("cpu", "query", "learnable", TWO, form=task.form)
    state = task.state()
    with torch.no_grad():
        single.prompt.separator.copy_(state["separator"][member])
        single.prompt.rows.copy_(state["rows"][member])
        single.prompt.shifts.copy_(state["shifts"][:, member])
        single.verbalizer.weight.copy_(state["verbalizer.weight"][member])
    return single


@pytest.fixture(params=[None, "qwen2"])
def together(request):
    task = task_model("cpu", "query", "learnable", TWO, members=MEMBERS, form=request.param)
    task.form = request.param
    with torch.no_grad():
        task.verbalizer.weight += 0.3 * torch.randn(task.verbalizer.weight.shape)
    return task


def test_loss_and_gradients_are_the_mean_of_the_members(together):
    batch = examples(9, TWO)
    together.smoothing = 0.1
    loss = together.loss(batch.units, batch.labels, together.prompt_tensors())
    loss.total.backward()
    losses = []
    for member in range(MEMBERS):
        single = alone(together, member)
        single.smoothing = 0.1
        own = single.loss(batch.units, batch.labels, single.prompt_tensors())
        (own.total / MEMBERS).backward()
        losses.append(own.total.item())
        for ours, theirs in (
            (together.prompt.separator.grad[member], single.prompt.separator.grad),
            (together.prompt.rows.grad[member], single.prompt.rows.grad),
            (together.prompt.shifts.grad[:, member], single.prompt.shifts.grad),
            (together.verbalizer.weight.grad[member], single.verbalizer.weight.grad),
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert loss.total.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_answers_have_the_mean_probability_of_the_members(together):
    units = examples(9, TWO).units
    hidden = together.read(units, together.prompt_tensors()).hidden
    for column in range(2):
        place = torch.full((len(units),), column)
        singles = []
        for member in range(MEMBERS):
            single = alone(together, member)
            own = single.read(units, single.prompt_tensors()).hidden
            singles.append(single.answer_scores(own, place).exp())
        expected = torch.stack(singles).mean(0)
        found = together.answer_scores(hidden, place).exp()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        best = [answer[column] for answer in predict(together, units).labels]
        assert best == expected.argmax(1).tolist()
    right = together.loss(units, predict(together, units).labels, together.prompt_tensors())
    assert right.correct.all()


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": {"mode": "deep", "members": 2}, "verbalizer": "learnable"},
        {"prompt": {"mode": "query", "members": 2}},
        {"prompt": {"mode": "query", "members": 2}, "verbalizer": "learnable"}
        | {"type": "transcription"},
    ],
)
def test_members_need_labels_that_are_read_at_once(settings):
    with pytest.raises(ValueError, match=r"prompt\.members"):
        Task(corpus="c", lm="l", **settings)
