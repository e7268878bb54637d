"""Sampling: which utterances an epoch sees."""

import numpy as np

from speechprompt.training.sampling import draw_rows


def test_balance_draws_every_answer_equally_often():
    labels = [[0]] * 90 + [[1]] * 9 + [[2]]
    drawn = draw_rows(labels, 6000, seed=1, epoch=0, balance=True)
    counts = np.bincount([labels[i][0] for i in drawn])
    assert counts.min() > 1800
    plain = draw_rows(labels, 150, seed=1, epoch=0, balance=False)
    assert sorted(plain[:100]) == list(range(100))
    assert len(set(plain[100:])) == 50
    assert not np.array_equal(drawn, draw_rows(labels, 6000, seed=1, epoch=1, balance=True))
