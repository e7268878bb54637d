"""The libraries that are compared compute what they say; those that are missing are skipped."""

import sys
from pathlib import Path

import pytest
import torch
from small_hubert import SMALL_HUBERT

from mock_gpu import mock_gpu
from speechprompt.lm import LMConfig

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.audio import make_recordings
from benchmarks.data import make_workload
from benchmarks.encoders import OurEncoder, TransformersEncoder, write_hubert

SMALL_LM = LMConfig(layers=2, heads=2, dim=16, ffn=32, max_positions=64)
FEW_FRAMES = SMALL_HUBERT | {"extractor_conv_layer_config": [[8, 10, 20], [8, 3, 16]]}


@pytest.fixture
def peft(request):
    """A small model with a prefix, and a batch for it."""
    pytest.importorskip("peft")
    pytest.importorskip("transformers")
    from benchmarks.prefix_tuning import PrefixTuning

    workload = make_workload("ks", 16)
    (batch,) = workload.batches(16)
    return lambda device: PrefixTuning(SMALL_LM, workload, "fp32", device), batch


@pytest.fixture
def hubert(tmp_path):
    """A file with a small HuBERT."""
    pytest.importorskip("transformers")
    write_hubert(tmp_path / "hubert.safetensors", FEW_FRAMES)
    return tmp_path / "hubert.safetensors"


@pytest.mark.slow
def test_peft_tunes_as_many_numbers_and_learns(peft):
    make, batch = peft
    tuning = make("cpu")
    assert sum(p.numel() for p in tuning.optimiser.parameters) == 2 * 2 * 5 * 16
    losses = [tuning.update(batch) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert tuning.infer(batch, answer=2) == 1


@pytest.mark.slow
def test_peft_runs_on_another_device(peft, monkeypatch):
    make, batch = peft
    adam, plain = torch.optim.Adam, {"fused": False, "foreach": False}
    monkeypatch.setattr(torch.optim, "Adam", lambda p, **settings: adam(p, **settings | plain))
    tuning = make("cpu")
    losses = [tuning.update(batch) for _ in range(2)]
    with mock_gpu() as device:
        there = make(device)
        assert [there.update(batch) for _ in range(2)] == pytest.approx(losses, rel=1e-5)
        assert there.infer(batch, answer=2) == 1


@pytest.mark.slow
@pytest.mark.parametrize("layer", [1, 2])
def test_transformers_has_our_frames(hubert, layer):
    recordings = make_recordings("ks", 3)
    ours = OurEncoder(hubert, "fp32", layer=layer).encode(recordings)
    theirs = TransformersEncoder(hubert, "fp32", layer=layer).encode(recordings)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.std(dim=0).min() > 0
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_transformers_returns_the_frames_of_each_utterance_without_padding(hubert):
    shorter, longer = make_recordings("ks", 2)
    recordings = [shorter[:9000], longer]
    ours = OurEncoder(hubert, "fp32", layer=2).encode(recordings)
    theirs = TransformersEncoder(hubert, "bf16", layer=2).encode(recordings)
    assert [frames.shape for frames in theirs] == [frames.shape for frames in ours]
    assert {frames.dtype for frames in theirs} == {torch.float32}


@pytest.mark.slow
def test_transformers_runs_on_another_device(hubert):
    recordings = make_recordings("ks", 2)
    here = TransformersEncoder(hubert, "fp32", layer=1).encode(recordings)
    encode = TransformersEncoder.encode.__wrapped__  # the mock GPU has no inference mode
    with mock_gpu() as device, torch.no_grad():
        there = encode(TransformersEncoder(hubert, "fp32", device, layer=1), recordings)
    for mine, other in zip(here, there, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)
