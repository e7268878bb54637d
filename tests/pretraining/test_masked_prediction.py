"""The loss against torchaudio's own forward pass."""

import pytest
import torch
import torch.nn.functional as F

from speechprompt.errors import ConfigError
from speechprompt.pretraining.model import build_hubert, masked_prediction, model_config

SHAPE = {
    "channels": [8] * 7,
    "dim": 32,
    "layers": 2,
    "heads": 2,
    "ffn": 48,
    "position_kernel": 16,
    "position_groups": 4,
    "dropout": 0.0,
}


def test_loss_and_gradients_are_torchaudios():
    torch.manual_seed(0)
    model = build_hubert(model_config(**SHAPE), n_targets=20, mask_share=0.6, mask_length=5)
    waveforms = torch.randn(3, 400 + 320 * 39)
    targets = torch.randint(0, 20, (3, 40))
    torch.manual_seed(7)
    loss, weight, masked, _ = masked_prediction(model, waveforms, targets)
    loss.backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    torch.manual_seed(7)
    scores, _, _ = model(F.layer_norm(waveforms, waveforms.shape[1:]), targets)
    expected = F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long), reduction="sum")
    expected.backward()
    assert weight == masked == len(scores)
    torch.testing.assert_close(loss, expected)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-4)


def test_unmasked_frames_count_by_their_weight():
    torch.manual_seed(0)
    config = model_config(**SHAPE)
    model = build_hubert(config, n_targets=20, mask_share=0.6, mask_length=5)
    model.logit_generator.skip_nomask = False
    waveforms = torch.randn(3, 400 + 320 * 39)
    targets = torch.randint(0, 20, (3, 40))
    torch.manual_seed(7)
    loss, weight, masked, _ = masked_prediction(model, waveforms, targets, 0.25)
    torch.manual_seed(7)
    scores = model(F.layer_norm(waveforms, waveforms.shape[1:]), targets)[:2]
    losses = [
        F.cross_entropy(s, torch.zeros(len(s), dtype=torch.long), reduction="sum") for s in scores
    ]
    torch.testing.assert_close(loss, losses[0] + 0.25 * losses[1])
    assert weight == masked + 0.25 * (120 - masked)


def test_right_answers_are_counted():
    torch.manual_seed(0)
    model = build_hubert(model_config(**SHAPE), n_targets=4, mask_share=0.6, mask_length=5)
    waveforms = torch.randn(2, 400 + 320 * 29)
    counts = []
    for target in range(4):
        torch.manual_seed(7)
        _, _, masked, right = masked_prediction(model, waveforms, torch.full((2, 30), target))
        counts.append(right)
    assert sum(counts) == masked


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": [8] * 6}, "expected 7 numbers, one per convolution, found 6"),
        ({"dim": 30, "heads": 4}, "expected a multiple of heads, found 30"),
        ({"position_groups": 5}, "expected a multiple of position_groups, found 32"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        model_config(**SHAPE | change)
