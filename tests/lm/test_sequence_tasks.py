"""Made-up tasks with sequences for answers: how they spell, and what the LM learns from them."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from random_models import random_lm, random_units
from reference_prompt import literal_hidden
from speechprompt.config.models import PretrainingTaskSettings, UnitLmSettings
from speechprompt.lm import Dictionary
from speechprompt.lm.fairseq import weights
from speechprompt.lm.pretraining import UnitLmTraining
from speechprompt.lm.pretraining_tasks import make_up_tasks
from speechprompt.lm.sequence_tasks import (
    Dictation,
    SequenceTasks,
    Spelling,
    find_windows,
    make_up_spellings,
)

N_UNITS = 20
FEW = {"tasks": 2, "slots": 1, "classes": [2], "unit_dropout": 0.0}
WRITTEN = PretrainingTaskSettings(**FEW, sequences=3, sequence_rows=2, sequence_weight=0.7)


def ask_for_spellings(n=40, model=None, **changes):
    """A random LM in training with made-up tasks, and the units of its utterances."""
    model = model or random_lm(n_units=N_UNITS)
    units = random_units(n)
    every = np.arange(n)
    tasks = make_up_tasks(model.config, [f"c/{i}" for i in every], units, every, WRITTEN, seed=1)
    quiet = {"codebook": "k", "corpora": ["c"], "dropout": 0.0, "batch_tokens": 150}
    settings = UnitLmSettings(**quiet | changes)
    sentences = [Dictionary(range(N_UNITS)).sentence(row) for row in units]
    return UnitLmTraining(model, settings, sentences, (every, every), 1, torch.float32, tasks)


def first_that_writes(trained, batch):
    """The first seed with which a batch is asked for a spelling."""
    return next(s for s in range(99) if isinstance(trained.tasks.draw(batch, s), Dictation))


@pytest.mark.parametrize("repeat_share", [0.0, 0.5])
def test_loss_and_gradients_equal_the_literal_computation(repeat_share):
    trained = ask_for_spellings(micro_tokens=90, repeat_share=repeat_share)
    batch = trained.batches(0)[0]
    seed = first_that_writes(trained, batch)
    sums = trained.backward(batch, seed)

    # Each sequence alone in float64, read once, with rows, separator and letters behind it.
    asked = copy.deepcopy(trained.tasks).double().draw(batch, seed)
    task = asked.task
    model = copy.deepcopy(trained.model).double()
    for parameter in model.parameters():
        parameter.grad = None
    named, config = weights(model), model.config
    next_unit = spelled = torch.zeros(())
    n_correct = n_letters = 0
    for i in batch:
        tokens, answer = trained.sentences[i][:-1].tolist(), asked.answers[i].tolist()
        read = literal_hidden(
            named,
            config,
            [*tokens, 0, *([4] * len(answer))],
            None,
            len(tokens),
            task.rows[-1],
            query=(task.rows[:-1], task.shifts),
            mixed=task.inputs[answer] @ named["embed_tokens.weight"][4:] if answer else None,
        )
        scores = read @ named["embed_tokens.weight"].T
        target = torch.from_numpy(trained.sentences[i][1:])
        next_unit = next_unit + F.cross_entropy(scores[: len(tokens)], target, reduction="sum")
        behind = scores[len(tokens) + 2 :]
        told = torch.cat((behind[:, 4:], behind[:, 2:3]), dim=1) @ task.weight.T
        wanted = torch.tensor([*answer, task.end])
        spelled = spelled + F.cross_entropy(told, wanted, reduction="sum")
        n_correct += int((told.argmax(1) == wanted).sum())
        n_letters += len(wanted)
    (next_unit + 0.7 * spelled).backward()

    assert float(sums.loss) == pytest.approx(next_unit.item(), rel=1e-5)
    assert (int(sums.n_correct), sums.n_answers) == (n_correct, n_letters)
    expected = dict(model.named_parameters())
    for name, parameter in trained.model.named_parameters():
        error = (parameter.grad - expected[name].grad).abs().max()
        assert error <= 2e-5 * expected[name].grad.abs().max(), name
    found = trained.tasks.draw(batch, seed).task
    for name, parameter in found.named_parameters():
        wanted = dict(task.named_parameters())[name].grad
        assert (parameter.grad - wanted).abs().max() <= 2e-5 * wanted.abs().max(), name
    assert sum(p.grad is not None for p in trained.tasks.parameters()) == 4


def test_windows_are_a_unit_and_its_neighbours():
    windows, numbers, counts = find_windows([np.array([7, 3]), np.array([7, 3, 5]), np.array([7])])
    told = [windows[row].tolist() for row in numbers]
    assert told[0] == [[-1, 7, 3], [7, 3, -1]]
    assert told[1] == [[-1, 7, 3], [7, 3, 5], [3, 5, -1]]
    assert told[2] == [[-1, 7, -1]]
    assert dict(zip(map(tuple, windows.tolist()), counts, strict=True))[-1, 7, 3] == 2
    assert len(windows) == 5


def test_letters_follow_the_windows_and_are_written_once():
    table = np.array([[0, -1], [-1, -1], [1, 2], [2, -1], [0, -1]])
    spelling = Spelling(3, np.array([4, 5, 6]), table)
    assert spelling.answer(np.array([0, 4, 1, 2, 3, 0])).tolist() == [0, 1, 2, 0]
    assert spelling.answer(np.array([1, 1])).tolist() == []
    assert spelling.answer(np.empty(0, np.int64)).tolist() == []


def test_a_spelling_is_drawn_with_its_seed_from_what_sounds_alike():
    units = random_units(300)
    windows, _, counts = find_windows(units)
    first, again = (make_up_spellings(windows, counts, N_UNITS, 12, seed=1) for _ in range(2))
    other = make_up_spellings(windows, counts, N_UNITS, 12, seed=2)
    for one, same in zip(first, again, strict=True):
        assert np.array_equal(one.table, same.table)
    assert len({one.table.tobytes() for one in [*first, *other]}) == 24
    for one in first:
        assert one.letters == len(set(one.heard)) <= N_UNITS
        assert one.table.min() == -1
        assert one.table.max() < one.letters
        # Most letters are written where their typical unit is heard more often than elsewhere.
        written = [
            np.average(windows[:, 1] == unit, weights=counts * (one.table[:, 0] == letter) + 1e-9)
            for letter, unit in enumerate(one.heard)
        ]
        overall = [np.average(windows[:, 1] == unit, weights=counts) for unit in one.heard]
        assert np.median(np.array(written) / overall) > 2
    silent = [np.average(one.table[:, 0] < 0, weights=counts) for one in first]
    assert min(silent) < 0.25  # every cluster but a few has letters
    assert max(silent) > 0.45  # most clusters are left out


def test_only_train_utterances_have_answers_and_these_end_with_the_positions():
    units = random_units(30)
    train = np.arange(20)
    config = random_lm(n_units=N_UNITS).config
    tasks = SequenceTasks(config, units, train, WRITTEN, seed=1)
    assert sorted(tasks.windows) == train.tolist()
    with pytest.raises(KeyError):
        tasks.draw([25], seed=1)
    longest = max(map(len, units[:20]))
    whole = tasks.draw(train, seed=3).answers
    for spare in (1, 6):
        tight = replace(config, max_positions=longest + spare)
        cut = SequenceTasks(tight, units, train, WRITTEN, seed=1).draw(train, seed=3).answers
        assert any(len(cut[i]) < len(whole[i]) for i in train)
        assert all(len(cut[i]) <= max(0, longest + spare - 4 - len(units[i])) for i in train)


def test_about_a_share_of_the_batches_is_asked_to_write():
    trained = ask_for_spellings()
    kinds = [type(trained.tasks.draw([0, 1], seed)) for seed in range(400)]
    assert 160 < kinds.count(Dictation) < 240
    tasks = [trained.tasks.draw([0], seed) for seed in range(60)]
    assert len({id(asked.task) for asked in tasks if isinstance(asked, Dictation)}) == 3
