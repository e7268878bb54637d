"""Measurements of this package do the work that they say."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mock_gpu import mock_gpu
from speechprompt.lm import LMConfig, UnitLM, save_lm
from speechprompt.lm.dictionary import Dictionary
from speechprompt.storage.parquet import read_parquet

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.audio import make_recordings
from benchmarks.cases import MODELS, Case, Effort
from benchmarks.data import make_workload
from benchmarks.extraction import write_corpus
from benchmarks.measure import measure_case
from benchmarks.ours import Ours
from benchmarks.packing import measure_packing
from benchmarks.pretraining import Pretraining, measure_pretraining

SMALL = LMConfig(layers=2, heads=2, dim=16, ffn=32, max_positions=64)
SHORT = Effort(seconds=0.0, repetitions=1, passes=1)


def use_plain_adam(monkeypatch):
    """The mock GPU has no fused one."""
    adam, plain = torch.optim.Adam, {"fused": False, "foreach": False}
    monkeypatch.setattr(torch.optim, "Adam", lambda p, **settings: adam(p, **settings | plain))


@pytest.fixture
def lm_path(tmp_path):
    """A file with a small unit LM."""
    save_lm(tmp_path / "lm.safetensors", UnitLM(SMALL), Dictionary(range(100)), "none")
    return tmp_path / "lm.safetensors"


def test_pretraining_updates_all_weights_with_the_tokens_it_counts(monkeypatch):
    case = Case("ours", "nano", "ks", "fp32", "pretrain", 128)
    units = make_workload("ks", 24).examples.units
    training = Pretraining(SMALL, units, case)
    batches = training.batches()
    assert all(training.tokens(batch) >= 128 for batch in batches)
    assert training.tokens([0]) == len(units[0]) + 1  # all units and the end
    before = {name: p.clone() for name, p in training.model.named_parameters()}
    losses = [training.update(batches[0]) for _ in range(5)]
    assert losses[-1] < losses[0] == pytest.approx(np.log(104), rel=0.2)
    changed = {n for n, p in training.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == before.keys()

    monkeypatch.setitem(MODELS, "nano", SMALL)
    measured = measure_pretraining(case, SHORT, None)
    assert measured["tokens_per_second"] > 20 * measured["utterances_per_second"] > 0
    assert measured["gflops"] > 0


def test_pretraining_runs_on_another_device(monkeypatch):
    use_plain_adam(monkeypatch)
    case = Case("ours", "nano", "ks", "fp32", "pretrain", 128)
    units = make_workload("ks", 24).examples.units

    def losses(device):
        training = Pretraining(SMALL, units, case, device)
        training.model.dropout = 0.0  # a device draws other numbers
        return [training.update(batch) for batch in training.batches()[:2]]

    here = losses("cpu")
    with mock_gpu() as device:
        assert losses(device) == pytest.approx(here, rel=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "nano/ks/fp32/train/32",
        "nano/ks/bf16/train/8",
        "nano/ks/fp32/infer/32",
        "nano/ks/bf16/pretrain/256",
        "nano/ks/fp32/pack/32",
    ],
)
def test_measurements_run_on_another_device(lm_path, monkeypatch, name):
    use_plain_adam(monkeypatch)
    monkeypatch.setitem(MODELS, "nano", SMALL)
    model, lengths, precision, phase, batch = name.split("/")
    case = Case("ours", model, lengths, precision, phase, int(batch))
    with mock_gpu() as device:
        measured = measure_case(case, SHORT, lm_path, device=device)
    assert measured["utterances_per_second"] > 0
    assert phase == "pack" or measured["gflops"] > 0


def test_an_update_reads_its_loss_once(lm_path, monkeypatch):
    workload = make_workload("ks", 8)
    ours = Ours(lm_path, workload, "fp32")
    monkeypatch.setattr(ours, "training_tokens", 64)  # several micro-batches
    (batch,) = workload.batches(8)
    assert len(ours._pieces(batch, 64)) > 2
    reads = []
    item = torch.Tensor.__float__
    monkeypatch.setattr(torch.Tensor, "__float__", lambda t: reads.append(1) or item(t))
    ours.update(batch)
    assert len(reads) == 1


def test_packing_is_told_per_utterance(lm_path):
    case = Case("ours", "nano", "ks", "fp32", "pack", 4)
    measured = measure_packing(case, SHORT, lm_path, None)
    # The batch was one repetition.
    assert measured["microseconds"] * measured["utterances_per_second"] == pytest.approx(1e6)


def test_a_corpus_lists_its_recordings_again(tmp_path):
    recordings = make_recordings("ks", 2)
    manifest, seconds = write_corpus(tmp_path, recordings, 5, ".flac")
    table = read_parquet(manifest, ["utt_id", "path", "n_samples"]).to_pydict()
    assert seconds == 5.0
    assert len(set(table["utt_id"])) == 5
    assert table["path"] == [f"{i % 2:04d}.flac" for i in range(5)]
    assert all((tmp_path / path).is_file() for path in table["path"])
