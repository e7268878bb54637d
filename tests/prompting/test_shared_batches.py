"""Batches that mix tasks: the same answers as task by task."""

import numpy as np
import pytest
import torch

from random_models import CODEBOOK, FORMS, prompt_form, random_lm, random_units
from speechprompt.config.tasks import DecodingSettings, PromptSettings
from speechprompt.lm import Dictionary, LoadedLM
from speechprompt.prompting.decoding import Question, predict, predict_together
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.shared_batches import group_tasks, read_sources
from speechprompt.prompting.task_model import TaskModel
from speechprompt.tasks.verbalizer import Verbalizer

COLUMNS = [[0, 1, 2], [3, 4], [5, 6, 7]]


def shared_lm(seed=0, form=None):
    model = random_lm(seed=seed, scale=1.5, **FORMS.get(form, {})).freeze()
    return LoadedLM(model, Dictionary(range(19, -1, -1)), "lm", CODEBOOK, {})


def task_on(lm, length, seed, *, allowed=None, mode="deep", layers=None, kind="frequency", first=2):
    generator = torch.Generator().manual_seed(seed)
    n_labels = 4 if kind == "learnable" else 8
    writes = mode in ("query", "front") and allowed is None
    settings = PromptSettings(length=length, layers=layers, **prompt_form(mode))
    prompt = Prompt(lm.model.config, settings, generator, n_labels if writes else 0)
    with torch.no_grad():
        for parameter in prompt.parameters():
            parameter.mul_(5)
        if writes:
            prompt.label_shifts.normal_(0, 2, generator=generator)
    verbalizer = Verbalizer(kind, range(first, first + n_labels), 20, writes=writes)
    return TaskModel(lm, prompt, verbalizer, allowed)


def four_tasks(lm):
    """One label of a learnable verbalizer, three labels, and answers of any length."""
    return [
        task_on(lm, 2, seed=1, allowed=[[0, 1, 2, 3]], kind="learnable"),
        task_on(lm, 7, seed=2, allowed=COLUMNS, first=5),
        task_on(lm, 4, seed=3, first=9),
        task_on(lm, 4, seed=4, mode="infix"),
    ]


def questions(form=None):
    tasks = four_tasks(shared_lm(form=form))
    decodings = [
        DecodingSettings(**settings)
        for settings in ({}, {}, {"beam": 3, "max_length": 6}, {"max_length": 5})
    ]
    units = [random_units(9 + i, seed=i) for i in range(4)]
    return [Question(*triple) for triple in zip(tasks, units, decodings, strict=True)]


@pytest.mark.parametrize("form", [None, *FORMS])
@pytest.mark.parametrize("micro_tokens", [40, 150, 4096])
def test_a_mixed_batch_answers_as_task_by_task(micro_tokens, form):
    asked = questions(form)
    together = predict_together(asked, micro_tokens)
    for question, mixed in zip(asked, together, strict=True):
        alone = predict(question.task, question.units, question.decoding)
        assert mixed.labels == alone.labels
        assert np.allclose(mixed.scores, alone.scores, atol=1e-4)
        assert (mixed.valid == alone.valid).all()
        assert (mixed.label_scores is None) == (alone.label_scores is None)
        if alone.label_scores is not None:
            assert np.allclose(mixed.label_scores, alone.label_scores, atol=1e-4)
    # Answers that depend on the task: a mixed batch could not pass by one prompt for all.
    assert len({tuple(map(tuple, one.labels)) for one in together}) == len(asked)


def test_the_tasks_share_their_batches(monkeypatch):
    asked = questions()
    model = asked[0].task.model
    sizes = []
    forward = model.forward
    monkeypatch.setattr(
        model,
        "forward",
        lambda pack, *rest: sizes.append(len(pack.next_position)) or forward(pack, *rest),
    )
    predict_together(asked)
    assert sizes == [sum(len(question.units) for question in asked)]


def test_rows_read_with_their_own_prompt_and_separator():
    tasks = four_tasks(shared_lm())
    units = random_units(1, shortest=8)[0]
    together = read_sources(tasks, [2, 0, 3, 1, 0], [units] * 5)
    for row, number in zip(together, [2, 0, 3, 1, 0], strict=True):
        alone = read_sources(tasks, [number], [units])[0]
        assert torch.allclose(row, alone, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)
    assert torch.equal(together[1], together[4])


def test_what_cannot_share_a_batch_has_its_own():
    lm, other = shared_lm(), shared_lm(seed=1)
    tasks = [
        task_on(lm, 2, seed=1),
        task_on(other, 2, seed=1),
        task_on(lm, 3, seed=2, mode="input"),
        task_on(lm, 3, seed=3, layers=[1]),
        task_on(lm, 5, seed=4, mode="both"),
        TaskModel(lm, None, Verbalizer("frequency", range(8), 20), None),
        task_on(lm, 4, seed=5, mode="query", kind="learnable"),
        task_on(lm, 4, seed=6, mode="front", kind="learnable"),
    ]
    assert group_tasks(tasks) == [[0, 4], [1], [2], [3], [5], [6], [7]]
    units = random_units(5)
    short = DecodingSettings(max_length=4)
    together = predict_together([Question(task, units, short) for task in tasks])
    for task, found in zip(tasks, together, strict=True):
        assert found.labels == predict(task, units, short).labels


def test_no_utterances_are_no_answers():
    asked = questions()
    empty = [Question(asked[0].task, []), Question(asked[1].task, asked[1].units)]
    first, second = predict_together(empty)
    assert first.labels == []
    assert len(second.labels) == len(asked[1].units)
    assert predict_together([]) == []
