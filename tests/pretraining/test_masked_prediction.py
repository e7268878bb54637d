"""The loss against torchaudio's own forward pass."""

import math

import torch
import torch.nn.functional as F

from speechprompt.config.encoders import HubertPretraining
from speechprompt.pretraining.model import build_hubert, masked_prediction

SHAPE = {
    "convolutions": [[8, 10, 5], *[[8, 3, 2]] * 4, *[[8, 2, 2]] * 2],
    "dim": 32,
    "layers": 2,
    "heads": 2,
    "ffn": 48,
    "position_kernel": 16,
    "position_groups": 4,
    "dropout": 0.0,
    "mask_share": 0.6,
    "mask_length": 5,
    "mel_filters": False,
}


def settings_of(**changes):
    return HubertPretraining(targets="k", corpora=["c"], **SHAPE | changes)


def test_loss_and_gradients_are_torchaudios():
    torch.manual_seed(0)
    model = build_hubert(settings_of(), n_targets=20)
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
    model = build_hubert(settings_of(), n_targets=20)
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
    model = build_hubert(settings_of(), n_targets=4)
    waveforms = torch.randn(2, 400 + 320 * 29)
    counts = []
    for target in range(4):
        torch.manual_seed(7)
        found = masked_prediction(model, waveforms, torch.full((2, 30), target))
        counts.append(found.n_correct)
    assert sum(counts) == found.n_masked


def test_mel_filters_answer_to_their_own_frequencies():
    convolutions = [[64, 160, 40], [8, 3, 2], [8, 3, 4]]
    settings = settings_of(convolutions=convolutions, mel_filters=True)
    model = build_hubert(settings, n_targets=4)
    first = model.wav2vec2.feature_extractor.conv_layers[0].conv
    edges_mel = torch.linspace(*(2595 * math.log10(1 + hz / 700) for hz in (80, 7600)), 18)
    for band, mel in enumerate(edges_mel[1:-1]):
        tone = torch.sin(2 * math.pi * 700 * (10 ** (mel / 2595) - 1) * torch.arange(8000) / 16000)
        heard = F.conv1d(tone[None, None], first.weight, stride=40)[0]
        loudness = heard.relu().square().sum(1).view(16, 4).sum(1)
        assert loudness.argmax() == band
