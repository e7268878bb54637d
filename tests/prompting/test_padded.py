"""Padded lines, as a GPU computes them, give the losses, gradients and answers of packed rows."""

import numpy as np
import pytest
import torch

from mock_gpu import READS, SENT, mock_gpu
from random_models import TWO, examples, random_units, task_model
from speechprompt.config.tasks import DecodingSettings
from speechprompt.lm.lines import rounded
from speechprompt.prompting import writer
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.padded import Padded

TASKS = [  # mode, verbalizer, allowed labels, members
    ("deep", "frequency", TWO, 1),
    ("deep", "learnable", [[0, 1, 2, 3, 4]], 1),
    ("deep", "frequency", None, 1),
    ("query", "frequency", TWO, 1),
    ("query", "learnable", TWO, 1),
    ("query", "learnable", TWO, 3),
    ("query", "frequency", None, 1),
    ("query", "learnable", None, 1),
    ("front", "learnable", TWO, 3),  # query rows, and rows in front
    ("front", "frequency", None, 1),
    ("front", "learnable", None, 1),
]


def batch_for(allowed):
    batch = examples(9, [range(8)] * 3 if allowed is None else allowed)
    if allowed is None:
        batch.labels[2] = batch.labels[2][:1]
    return batch


@pytest.mark.parametrize(("seed", "form"), [(None, None), (5, None), (5, "qwen2")])
@pytest.mark.parametrize(("mode", "kind", "allowed", "members"), TASKS)
def test_losses_and_answers_are_those_of_packed_rows(mode, kind, allowed, members, seed, form):
    batch = batch_for(allowed)

    def results(padded):
        task = task_model("cpu", mode, kind, allowed, members=members, form=form)
        task.smoothing = 0.1
        task.padded = Padded(task) if padded else None
        loss = task.loss(batch.units, batch.labels, task.prompt_tensors(seed))
        loss.total.backward()
        gradients = {n: p.grad for n, p in task.named_parameters().items() if p.grad is not None}
        with torch.no_grad():
            again = task.loss(batch.units, batch.labels, task.prompt_tensors())
        answers = predict(task, batch.units, DecodingSettings(max_length=5))
        return loss, gradients, again.total.item(), answers

    loss, gradients, again, answers = results(padded=False)
    loss_padded, gradients_padded, again_padded, answers_padded = results(padded=True)
    assert loss_padded.total.item() == pytest.approx(loss.total.item(), rel=1e-5)
    assert loss_padded.n_tokens == loss.n_tokens
    assert loss_padded.correct.tolist() == loss.correct.tolist()
    torch.testing.assert_close(
        gradients_padded, gradients, rtol=1e-4, atol=1e-5 if form is None else 5e-5
    )
    assert again_padded == pytest.approx(again, rel=1e-5)
    assert answers_padded.labels == answers.labels
    np.testing.assert_allclose(answers_padded.scores, answers.scores, rtol=1e-4)


@pytest.mark.parametrize(("mode", "kind", "allowed", "members"), TASKS)
def test_a_loss_can_be_recorded(mode, kind, allowed, members, monkeypatch):
    """The host neither reads from the device nor sends to it while a loss is computed."""
    batch = batch_for(allowed)
    with mock_gpu() as device:
        task = task_model(device, mode, kind, allowed, members=members)
        padded = Padded(task)
        for replay in (padded._trainings, padded._losses, padded._sources):
            compute = replay.compute

            def counted(*inputs, compute=compute):
                READS.clear(), SENT.clear()
                outputs = compute(*inputs)
                assert (READS, SENT) == ([], [])
                return outputs

            monkeypatch.setattr(replay, "compute", counted)
        padded.loss(batch.units, batch.labels, task.prompt_tensors())
        with torch.no_grad():
            padded.loss(batch.units, batch.labels, task.prompt_tensors())
            padded.sources(batch.units, task.prompt_tensors())


@pytest.mark.parametrize("settings", [{"max_length": 9}, {"max_length": 9, "beam": 3}])
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("deep", "frequency"),
        ("query", "frequency"),
        ("query", "learnable"),
        ("front", "learnable"),
        ("input", "frequency"),
        ("infix", "frequency"),
    ],
)
def test_steps_of_one_form_find_the_same_answers(mode, kind, settings, monkeypatch):
    def answers():
        task = task_model("cpu", mode, kind, None)
        return predict(task, random_units(12), DecodingSettings(**settings))

    plain = answers()
    monkeypatch.setattr(writer, "replays", lambda device: True)
    fixed = answers()
    assert fixed.labels == plain.labels
    np.testing.assert_allclose(fixed.scores, plain.scores, rtol=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_finished_answers_need_no_positions(beam, monkeypatch):
    """Lines near the unit LM's 128 positions stay in the batch with shorter ones."""
    units = [np.arange(n) % 20 for n in (122, 121, 9, 12, 5)]

    def answers():
        task = task_model("cpu", "deep", "frequency", None)
        task.padded = Padded(task)
        return predict(task, units, DecodingSettings(max_length=40, beam=beam))

    plain = answers()
    monkeypatch.setattr(writer, "replays", lambda device: True)
    assert answers().labels == plain.labels


def test_sizes_are_rounded_up_by_at_most_an_eighth():
    sizes = [rounded(n) for n in range(1, 2000)]
    assert all(n <= size <= n * 1.125 for n, size in enumerate(sizes, 1))
    assert len(set(sizes)) == 15 + 8 * 7 + 1
    assert [rounded(n) for n in (8, 32, 128)] == [8, 32, 128]
