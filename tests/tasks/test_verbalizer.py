"""Verbalizers: the published mapping, ties, and what is refused."""

import json

import numpy as np
import pytest
import torch

from speechprompt.errors import ConfigError
from speechprompt.tasks.verbalizer import (
    aligned_units,
    build_verbalizer,
    frequency_units,
    random_units,
)


@pytest.mark.parametrize(
    ("task", "corpus", "n_labels"), [("KS", "speech_commands", 12), ("IC", "fluent_commands", 24)]
)
def test_frequency_reproduces_the_published_file(shared_data, task, corpus, n_labels):
    units, labels = [], []
    for line in (shared_data / "units" / corpus / "train.txt").read_text().splitlines():
        left, right = line.split("<s>")
        units.append(np.array(left.split(), int))
        labels.append([int(label) for label in right.split()])
    published = json.loads((shared_data / "units" / "verbalizer.hubert100.json").read_text())
    found = frequency_units(labels, units, n_labels, 100)
    assert {str(label): str(unit) for label, unit in enumerate(found)} == published[task]


def test_ties_go_by_first_occurrence_and_the_unseen_come_last():
    units = [np.array([3, 3, 1]), np.array([4, 1])]
    assert frequency_units([[2], [0], [0], [2]], units, n_labels=4, n_units=5) == [1, 4, 3, 0]


def build(kind, n_labels=3, n_units=10, seed=0):
    return build_verbalizer(
        kind, [[0]], [np.array([7])], n_labels=n_labels, n_units=n_units, seed=seed
    )


def test_aligned_finds_the_units_that_are_heard_where_a_label_is_said():
    rng = np.random.default_rng(0)
    heard_as = rng.permutation(30)[:8]
    labels = [rng.integers(0, 8, rng.integers(2, 9)).tolist() for _ in range(300)]
    # Every label is two units long, its own and any; some utterances say nothing.
    units = [
        np.array([unit for label in row for unit in (heard_as[label], rng.integers(30))], int)
        for row in labels
    ]
    found = aligned_units([*labels, []], [*units, np.array([3], int)], n_labels=9, n_units=30)
    assert found[:8] == heard_as.tolist()
    assert len(set(found)) == 9


def test_random_is_seeded_and_without_repeats():
    assert random_units(9, 10, 1) == random_units(9, 10, 1) != random_units(9, 10, 2)
    assert len(set(random_units(9, 10, 1))) == 9
    assert build("random", seed=1).units == random_units(3, 10, 1)


def test_learnable_is_a_bias_free_linear_layer():
    verbalizer = build("learnable")
    assert {n: tuple(p.shape) for n, p in verbalizer.named_parameters()} == {"weight": (3, 10)}
    scores = torch.randn(4, 10)
    assert torch.equal(verbalizer.label_scores(scores), scores[:, verbalizer.units])
    with torch.no_grad():
        verbalizer.weight.normal_()
    expected = torch.einsum("nk,lk->nl", scores, verbalizer.weight)
    torch.testing.assert_close(verbalizer.label_scores(scores), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["frequency", "random", "aligned"])
def test_more_labels_than_units_names_the_ways_out(kind):
    with pytest.raises(ConfigError, match=r"11 labels.*has 10; use a larger codebook.*learnable"):
        build(kind, n_labels=11)


def test_learnable_takes_more_labels_than_units():
    assert build("learnable", n_labels=11).label_scores(torch.ones(2, 10)).shape == (2, 11)
