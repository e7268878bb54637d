import pytest
import torch

from speechprompt.encoders.base import Encoder, batch_by_length, encode_in_batches


class LengthEncoder(Encoder):
    def __init__(self):
        self.batches = []

    def encode(self, waveforms):
        self.batches.append([len(waveform) for waveform in waveforms])
        return [torch.full((1, 1), len(waveform)) for waveform in waveforms]


def test_batches_hold_every_utterance_once_within_the_budget():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 500, (200,), generator=generator).tolist()
    batches = batch_by_length(lengths, 1000)
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    assert all(len(batch) * max(lengths[i] for i in batch) <= 1000 for batch in batches)
    assert len(batches) < 100


def test_padding_counts_towards_the_budget():
    assert batch_by_length([10, 100], 150) == [[0], [1]]


def test_an_utterance_over_the_budget_is_its_own_batch():
    assert batch_by_length([700, 10, 10], 100) == [[1, 2], [0]]


def test_no_utterances_no_batches():
    assert batch_by_length([], 100) == []


def test_encoding_keeps_the_order():
    encoder = LengthEncoder()
    lengths = [16_000, 100, 8_000, 100, 12_000]
    encoder.prefers_batches, encoder.batch_seconds = True, 1
    frames = encode_in_batches(encoder, [torch.zeros(n) for n in lengths])
    assert [frame.item() for frame in frames] == lengths
    assert encoder.batches == [[100, 100], [8_000], [12_000], [16_000]]


@pytest.mark.parametrize(("prefers_batches", "batch_seconds"), [(True, 0), (False, 1)])
def test_zero_seconds_encode_one_at_a_time(prefers_batches, batch_seconds):
    encoder = LengthEncoder()
    encoder.prefers_batches, encoder.batch_seconds = prefers_batches, batch_seconds
    encode_in_batches(encoder, [torch.zeros(10)] * 3)
    assert encoder.batches == [[10], [10], [10]]
