"""Made-up tasks of pre-training: what they ask for, and what the unit LM learns from them."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from random_models import random_lm, random_units
from reference_prompt import literal_hidden
from speechprompt.config.models import PretrainingTaskSettings, UnitLmSettings
from speechprompt.lm import Dictionary
from speechprompt.lm.fairseq import weights
from speechprompt.lm.pretraining import UnitLmTraining
from speechprompt.lm.pretraining_tasks import cluster_utterances, make_up_tasks

N_UNITS = 20
THREE = PretrainingTaskSettings(
    tasks=5, slots=3, classes=[2, 4], weight=0.5, unit_dropout=0.0, sequences=0
)


def ask_both_corpora(n=64, **changes):
    """A random LM in training on two corpora of which each has made-up tasks, and its sentences."""
    model = random_lm(n_units=N_UNITS)
    units = random_units(n)
    names = [f"{'ab'[i % 2]}/{i}" for i in range(n)]
    everything = np.arange(n)
    tasks = make_up_tasks(model.config, names, units, everything, THREE, seed=1)
    quiet = {"codebook": "k", "corpora": ["a", "b"], "dropout": 0.0, "batch_tokens": 100}
    settings = UnitLmSettings(**quiet | changes)
    sentences = [Dictionary(range(N_UNITS)).sentence(row) for row in units]
    splits = (everything, everything)
    return UnitLmTraining(model, settings, sentences, splits, 1, torch.float32, tasks), sentences


def test_loss_and_gradients_equal_the_literal_computation():
    trained, sentences = ask_both_corpora(micro_tokens=60)
    batch = trained.batches(0)[0]
    sums = trained.backward(batch, seed=7)
    assert len({i % 2 for i in batch}) == 1

    # Each sequence alone in float64, with its slots as tokens behind it.
    questions = copy.deepcopy(trained.tasks).double().draw(batch, seed=7)
    model = copy.deepcopy(trained.model).double()
    for parameter in model.parameters():
        parameter.grad = None
    named, config = weights(model), model.config
    scale = sum(len(sentences[i]) - 1 for i in batch) / len(batch)
    next_unit = asked = torch.zeros(())
    n_correct = 0
    for i in batch:
        tokens = sentences[i][:-1].tolist()
        *rows, last = (task.slot for task in questions.tasks)
        shifts = torch.stack([task.shifts for task in questions.tasks], dim=1)
        query = (torch.stack(rows), shifts)
        read = literal_hidden(named, config, [*tokens, 0], None, len(tokens), last, query=query)
        scores = read @ named["embed_tokens.weight"].T
        target = torch.from_numpy(sentences[i][1:])
        next_unit = next_unit + F.cross_entropy(scores[: len(tokens)], target, reduction="sum")
        for slot, task in enumerate(questions.tasks):
            told = task.head @ scores[len(tokens) + slot, 4:]
            answer = torch.tensor(questions.labels[i, slot])
            asked = asked + F.cross_entropy(told, answer) / 3
            n_correct += int(told.argmax() == answer)
    (next_unit + 0.5 * scale * asked).backward()

    assert float(sums.loss) == pytest.approx(next_unit.item(), rel=1e-5)
    assert (int(sums.n_correct), sums.n_answers) == (n_correct, 3 * len(batch))
    expected = dict(model.named_parameters())
    for name, parameter in trained.model.named_parameters():
        error = (parameter.grad - expected[name].grad).abs().max()
        assert error <= 2e-5 * expected[name].grad.abs().max(), name
    drawn = trained.tasks.draw(batch, seed=7)
    for task, literal in zip(drawn.tasks, questions.tasks, strict=True):
        for found, wanted in zip(task.parameters(), literal.parameters(), strict=True):
            assert (found.grad - wanted.grad).abs().max() <= 2e-5 * wanted.grad.abs().max()
    assert sum(p.grad is not None for p in trained.tasks.parameters()) == 9


def test_a_batch_is_of_one_corpus_and_every_utterance_comes_once_an_epoch():
    trained, sentences = ask_both_corpora()
    first, second = trained.batches(0), trained.batches(1)
    assert first != second
    for batches in (first, second):
        assert sorted(i for batch in batches for i in batch) == list(range(len(sentences)))
        assert all(len({i % 2 for i in batch}) == 1 for batch in batches)
    corpora = [batch[0] % 2 for batch in first]
    assert corpora not in (sorted(corpora), sorted(corpora, reverse=True))


def test_held_out_loss_is_that_of_the_next_unit():
    trained, sentences = ask_both_corpora()
    found = trained.evaluate()
    trained.tasks = None
    assert float(found.loss) == float(trained.evaluate().loss)
    assert found.weight == sum(len(sentence) - 1 for sentence in sentences)
    assert found.n_answers == 0


def kinds_of_utterances(n=200):
    """Utterances of four kinds, whose units hardly overlap, and the kinds."""
    rng = np.random.default_rng(1)
    kinds = rng.integers(4, size=n)
    return [rng.integers(5, size=rng.integers(8, 20)) + 4 * kind for kind in kinds], kinds


def purity(labels, kinds):
    """Share of the utterances that are of their cluster's most frequent kind."""
    most = [np.bincount(kinds[labels == one]).max() for one in np.unique(labels)]
    return sum(most) / len(kinds)


def test_clusters_hold_utterances_that_sound_alike():
    units, kinds = kinds_of_utterances()
    settings = PretrainingTaskSettings(tasks=6, classes=[8, 16, 32], slots=2)
    clusters = cluster_utterances(units, settings, seed=1)
    assert clusters.classes == [8, 16, 8, 16, 8, 16]  # 32 would have fewer than 8 utterances each
    assert clusters.labels.shape == (200, 6)
    assert clusters.labels.min() >= 0
    assert (clusters.labels.max(axis=0) < clusters.classes).all()
    assert all(purity(labels, kinds) > 0.9 for labels in clusters.labels.T[:2])
    assert len({tuple(labels) for labels in clusters.labels.T}) == 6
    assert np.array_equal(cluster_utterances(units, settings, 1).labels, clusters.labels)
    assert not np.array_equal(cluster_utterances(units, settings, 2).labels, clusters.labels)


def test_corpora_are_clustered_in_parts_as_at_once(monkeypatch):
    units, kinds = kinds_of_utterances()
    monkeypatch.setattr("speechprompt.lm.pretraining_tasks.MAX_SAMPLE", 150)
    clusters = cluster_utterances(units, THREE, seed=1)
    assert clusters.labels.shape == (200, 5)
    assert purity(clusters.labels[:, 1], kinds) > 0.9


def test_odd_corpora_have_tasks_or_none():
    assert cluster_utterances([np.array([1, 2])] * 15, THREE, seed=1) is None
    assert cluster_utterances([np.array([1, 2])] * 16, THREE, seed=1).classes == [2] * 5
    same = cluster_utterances([np.array([3])] * 40, THREE, seed=1)
    assert same.labels.shape == (40, 5)
    some_empty = [np.arange(i % 3) for i in range(40)]
    assert cluster_utterances(some_empty, THREE, seed=1).labels.shape == (40, 5)


def test_impossible_settings_are_refused():
    with pytest.raises(ValidationError, match="slots: expected at most tasks = 2, found 4"):
        PretrainingTaskSettings(tasks=2)
    with pytest.raises(ValidationError, match="classes"):
        PretrainingTaskSettings(classes=[1])
