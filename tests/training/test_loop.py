"""What a training that goes on from its checkpoint writes, with a model of one number."""

import pytest
import torch

from speechprompt.config.training import LoopSettings
from speechprompt.training.job import TrainingFiles
from speechprompt.training.loop import Sums, fit


class Number:
    """Moves a number to 3; the evaluation after some epoch may be interrupted."""

    def __init__(self, interrupted=0):
        self.number = torch.zeros(1, requires_grad=True)
        self.parameters = {"number": self.number}
        self.evaluations, self.interrupted = 0, interrupted

    def batches(self, epoch):
        return [1, 2, 3]

    def backward(self, batch, seed):
        loss = (self.number - 3).square().sum()
        loss.backward()
        return Sums(loss.item(), 1, 0, 0)

    def evaluate(self):
        self.evaluations += 1
        if self.evaluations == self.interrupted:
            raise KeyboardInterrupt
        return Sums((self.number - 3).square().item(), 1, 0, 0)


@pytest.mark.parametrize("interrupted", [1, 2])
def test_a_training_that_ends_behind_an_epochs_last_update_has_the_same_curve(
    interrupted, tmp_path
):
    settings = LoopSettings(lr=0.5, warmup=1, max_epochs=3)
    whole = fit(Number(), settings, TrainingFiles("unused"), seed=1, fingerprint="a")
    files = TrainingFiles("unused", None, tmp_path / "checkpoint.safetensors", 0)
    with pytest.raises(KeyboardInterrupt):
        fit(Number(interrupted), settings, files, seed=1, fingerprint="a")
    resumed = fit(Number(), settings, files, seed=1, fingerprint="a")
    assert resumed.curve == whole.curve
    assert len({point.lr for point in whole.curve}) == 3
    assert all(point.lr < settings.lr for point in whole.curve)
