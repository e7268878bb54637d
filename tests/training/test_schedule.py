"""Schedules of the learning rate."""

import numpy as np
import pytest

from speechprompt.training.schedule import learning_rate


@pytest.mark.parametrize("warmup", [0, 10])
def test_schedules(warmup):
    def rates(kind):
        return [learning_rate(kind, 2.0, update, warmup, 100) for update in range(100)]

    assert rates("constant")[warmup:] == [2.0] * (100 - warmup)
    if warmup:
        assert rates("cosine")[:warmup] == pytest.approx(np.arange(1, 11) / 5)
        assert rates("inverse_sqrt")[39] == pytest.approx(1.0)
    cosine = rates("cosine")[warmup:]
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[0] == 2.0
    assert cosine[-1] < 0.01
