"""The sum and the heads against torch's own layers and, for CTC, against its definition."""

from itertools import groupby, product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechprompt.downstream.heads import PooledHead, RecurrentHead, needed_frames
from speechprompt.downstream.model import DownstreamModel, LayerSum, ModelShape

LENGTHS = [7, 3, 11, 1]
COLUMNS = [[0, 1, 2], [3, 4]]


@pytest.fixture
def frames():
    return torch.randn(sum(LENGTHS), 6, generator=torch.Generator().manual_seed(0))


def recurrent(n_labels=3, layers=2, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    return RecurrentHead(6, n_labels, hidden=5, layers=layers, dropout=dropout)


def padded(frames):
    return nn.utils.rnn.pad_sequence(frames.split(LENGTHS), batch_first=True)  # (B, T, D)


def test_the_sum_is_weighted_by_a_softmax():
    states = torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(0))
    for normalize in (False, True):
        layers = LayerSum(4, normalize=normalize)
        with torch.no_grad():
            layers.scores.copy_(torch.tensor([0.0, 1.0, -2.0, 0.5]))
        weights = layers.scores.exp() / layers.scores.exp().sum()
        expected = 0
        for weight, state in zip(weights, states, strict=True):
            if normalize:
                mean = state.mean(1, keepdim=True)
                state = (state - mean) / (state.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
            expected = expected + weight * state
        torch.testing.assert_close(layers(states), expected)


def test_pooling_equals_s3prls_order_of_layers(frames):
    torch.manual_seed(0)
    head = PooledHead(6, COLUMNS, hidden=4)
    projected = head.project(padded(frames))
    means = torch.stack([row[:n].mean(0) for row, n in zip(projected, LENGTHS, strict=True)])
    logits = head.classify(means)
    labels = [[0, 3], [2, 4], [1, 4], [1, 3]]
    target = torch.tensor(labels)
    expected = F.cross_entropy(logits[:, :3], target[:, 0], reduction="sum")
    expected = expected + F.cross_entropy(logits[:, 3:], target[:, 1] - 3, reduction="sum")

    scores = head(frames, LENGTHS)
    loss = head.loss(scores, LENGTHS, labels)
    torch.testing.assert_close(loss.total, expected)
    assert loss.n_labels == 8
    answers, log_probabilities = head.answers(scores, LENGTHS)
    best = torch.stack([logits[:, :3].argmax(1), 3 + logits[:, 3:].argmax(1)], dim=1)
    assert answers == best.tolist()
    assert loss.correct.tolist() == (best == target).all(1).tolist()
    each = logits[:, :3].softmax(1).amax(1) * logits[:, 3:].softmax(1).amax(1)
    assert torch.tensor(log_probabilities).exp().tolist() == pytest.approx(each.tolist())


def as_torch(head):
    """torch's bidirectional LSTM with the head's weights."""
    lstm = nn.LSTM(5, 5, len(head.forward_lstms), bidirectional=True, batch_first=True)
    state = {}
    for suffix, stack in (("", head.forward_lstms), ("_reverse", head.backward_lstms)):
        for number, layer in enumerate(stack):
            for name, weight in layer.state_dict().items():
                state[name.replace("_l0", f"_l{number}{suffix}")] = weight.clone()
    lstm.load_state_dict(state)
    return lstm


def test_the_recurrent_head_is_torchs_packed_blstm(frames):
    head = recurrent()
    lstm = as_torch(head)
    packed = nn.utils.rnn.pack_padded_sequence(
        head.project(padded(frames)), LENGTHS, batch_first=True, enforce_sorted=False
    )
    output, _ = nn.utils.rnn.pad_packed_sequence(lstm(packed)[0], batch_first=True)
    rows = torch.cat([row[:n] for row, n in zip(output, LENGTHS, strict=True)])
    expected = head.classify(rows).log_softmax(1)
    ours = head(frames, LENGTHS)
    torch.testing.assert_close(ours, expected)

    # And its gradients, by torch's own loss.
    labels = [[0, 1], [2], [0, 0, 1], []]
    head.loss(ours, LENGTHS, labels).total.backward()
    gradient = head.forward_lstms[1].weight_hh_l0.grad.clone()
    F.ctc_loss(
        nn.utils.rnn.pad_sequence(expected.split(LENGTHS)),
        torch.tensor([0, 1, 2, 0, 0, 1]),
        torch.tensor(LENGTHS),
        torch.tensor([2, 1, 3, 0]),
        blank=3,
        reduction="sum",
    ).backward()
    torch.testing.assert_close(gradient, lstm.weight_hh_l1.grad)


def test_the_loss_is_ctcs_by_definition():
    """The probability of an answer is that of all paths that collapse to it."""
    head = recurrent(n_labels=2)
    scores = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)).log_softmax(1)
    lengths, labels = [5, 3], [[0, 0, 1], [1]]
    expected = 0.0
    for part, answer in zip(scores.split(lengths), labels, strict=True):
        probability = 0.0
        for path in product(range(3), repeat=len(part)):
            collapsed = [label for label, _ in groupby(path) if label != 2]
            if collapsed == answer:
                probability += part[range(len(part)), list(path)].sum().exp().item()
        expected -= torch.tensor(probability).log().item()
    assert head.loss(scores, lengths, labels).total.item() == pytest.approx(expected, rel=1e-5)


def test_the_best_path_is_collapsed():
    head = recurrent(n_labels=2)
    path = [2, 0, 0, 2, 0, 1, 1, 2, 1]
    scores = torch.full((9, 3), -5.0)
    scores[range(9), path] = -0.1
    answers, log_probabilities = head.answers(scores, [7, 2])
    assert answers == [[0, 0, 1], [1]]
    assert log_probabilities == pytest.approx([-0.7, -0.2])
    assert head.loss(scores, [7, 2], [[0, 0, 1], [0]]).correct.tolist() == [True, False]


def test_an_utterance_is_heard_alone_as_in_a_batch(frames):
    for head in (recurrent().eval(), PooledHead(6, COLUMNS, hidden=4)):
        with torch.no_grad():
            together = head(frames, LENGTHS)
            alone = [
                head(part, [n]) for part, n in zip(frames.split(LENGTHS), LENGTHS, strict=True)
            ]
        torch.testing.assert_close(together, torch.cat(alone))


def test_too_few_frames_for_an_answer_teach_nothing(frames):
    head = recurrent()
    assert (needed_frames([]), needed_frames([1, 2]), needed_frames([1, 1, 1])) == (0, 2, 5)
    labels = [[0, 1], [2, 2], [0], [1, 2]]  # 3 frames are enough for the second, 1 is not
    loss = head.loss(head(frames, LENGTHS), LENGTHS, labels)
    assert loss.short.tolist() == [False, False, False, True]
    assert loss.n_labels == 5
    loss.total.backward()
    gradients = {name: p.grad.clone() for name, p in head.named_parameters()}
    assert all(g.isfinite().all() for g in gradients.values())
    head.zero_grad()
    n = sum(LENGTHS[:3])
    without = head.loss(head(frames[:n], LENGTHS[:3]), LENGTHS[:3], labels[:3])
    torch.testing.assert_close(without.total, loss.total)
    without.total.backward()
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name])


def test_dropout_follows_the_seed_and_is_off_in_evaluation(frames):
    head = recurrent(dropout=0.5)

    def scores(seed):
        torch.manual_seed(seed)
        return head(frames, LENGTHS)

    assert torch.equal(scores(1), scores(1))
    assert not torch.equal(scores(1), scores(2))
    head.eval()
    assert torch.equal(scores(1), scores(2))


def test_sizes_are_the_papers():
    """0.2 and 43 million numbers with HuBERT base, 0.07 and 42.5 million with CPC."""

    def size(n_states, dim, allowed, hidden, n_labels):
        with torch.device("meta"):
            model = DownstreamModel(ModelShape(n_states, dim, n_labels, allowed, hidden))
        return sum(p.numel() for p in model.trained().values())

    keywords = [list(range(12))]
    assert size(13, 768, keywords, 256, 12) == 13 + 769 * 256 + 257 * 12
    assert round(size(13, 768, keywords, 256, 12) / 1e6, 1) == 0.2
    assert round(size(1, 256, keywords, 256, 12) / 1e6, 2) == 0.07
    assert round(size(13, 768, None, 1024, 29) / 1e6) == 43
    assert size(1, 256, None, 1024, 29) / 1e6 == pytest.approx(42.5, abs=0.25)
