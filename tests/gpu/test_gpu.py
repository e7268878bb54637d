"""On a GPU: the same units, losses, gradients and answers as on the processor, and how fast.

Skipped where there is none. Figures are printed, not asserted: ``pytest -s tests/gpu``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans

from random_models import (
    CODEBOOK,
    TWO,
    examples,
    learnable_examples,
    random_units,
    task_model,
    write_lm,
)
from speechprompt.config.tasks import DecodingSettings, Task
from speechprompt.encoders import load_encoder
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.training import TaskData, train_prompt
from speechprompt.runtime.device import make_deterministic, resolve_device
from speechprompt.runtime.precision import resolve_precision
from speechprompt.tasks.classification import Classification
from speechprompt.training import loop as fitting
from speechprompt.training.job import Computation, TrainingFiles

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.encoders import HUBERT_BASE, write_hubert

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]

ONE = [[0, 1, 2, 3, 4]]


@pytest.fixture(scope="module", autouse=True)
def in_fixed_order():
    make_deterministic("cuda")
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("mode", "kind", "allowed"),
    [
        ("deep", "frequency", TWO),
        ("deep", "learnable", ONE),
        ("input", "frequency", None),
        ("both", "frequency", TWO),
        ("infix", "frequency", TWO),
        ("query", "frequency", TWO),
        ("query", "learnable", TWO),
        ("query", "learnable", None),
        (None, "frequency", TWO),
    ],
)
def test_loss_and_gradients_are_the_processors(mode, kind, allowed):
    batch = examples(24, [range(8)] * 3 if allowed is None else allowed)

    def step(device):
        task = task_model(device, mode, kind, allowed)
        loss = task.loss(batch.units, batch.labels, task.prompt_tensors(5))
        loss.total.backward()
        named = task.named_parameters().items()
        gradients = {name: p.grad.cpu() for name, p in named if p.grad is not None}
        return loss.total.item(), loss.correct.tolist(), gradients

    loss, right, gradients = step("cpu")
    loss_there, right_there, gradients_there = step("cuda")
    assert loss_there == pytest.approx(loss, rel=1e-4)
    assert right_there == right
    for name, gradient in gradients.items():
        error = (gradients_there[name] - gradient).norm() / gradient.norm()
        assert error < 1e-3, name


@pytest.mark.parametrize(
    ("mode", "kind", "allowed"),
    [
        ("deep", "frequency", TWO),
        ("deep", "learnable", ONE),
        ("deep", "frequency", None),
        ("query", "learnable", TWO),
        ("query", "frequency", None),
        ("query", "learnable", None),
    ],
)
def test_a_replayed_update_is_the_processors(mode, kind, allowed):
    """From the second update with lengths of one form on, a graph is replayed."""
    columns = [range(8)] * 3 if allowed is None else allowed
    batches = [examples(24, columns, seed) for seed in (1, 1, 2, 1, 2)]

    def losses(device):
        task = task_model(device, mode, kind, allowed)
        optimiser = torch.optim.SGD(task.named_parameters().values(), lr=0.01)
        found = []
        for number, batch in enumerate(batches):
            optimiser.zero_grad()
            loss = task.loss(batch.units, batch.labels, task.prompt_tensors(number))
            (loss.total / loss.n_tokens).backward()
            optimiser.step()
            found.append(loss.total.item())
            with torch.no_grad():
                found.append(
                    task.loss(batch.units, batch.labels, task.prompt_tensors()).total.item()
                )
        return found, task

    here, _ = losses("cpu")
    there, task = losses("cuda")
    np.testing.assert_allclose(there, here, rtol=1e-4)
    assert any(task.padded._trainings._recordings.values())


@pytest.mark.parametrize(
    ("allowed", "settings"),
    [
        (TWO, {}),
        (ONE, {}),
        (TWO, {"free": True}),
        (TWO, {"beam": 2}),
        (None, {"max_length": 6}),
        (None, {"max_length": 6, "beam": 3}),
        (None, {"max_length": 40}),
        (None, {"max_length": 40, "beam": 3}),
    ],
)
def test_answers_are_the_processors(allowed, settings):
    units, decoding = random_units(40), DecodingSettings(**settings)
    here, there = (
        predict(task_model(d, allowed=allowed), units, decoding) for d in ("cpu", "cuda")
    )
    assert there.labels == here.labels
    np.testing.assert_allclose(there.scores, here.scores, rtol=1e-3, atol=1e-3)
    fast = predict(task_model("cuda", allowed=allowed, dtype=torch.bfloat16), units, decoding)
    assert np.mean([a == b for a, b in zip(fast.labels, here.labels, strict=True)]) > 0.7


def trained(folder, device, name="prompt", method="prompt", checkpoint=None, **settings):
    path = folder / f"{name}.safetensors"
    labels = Classification(("label",), (("a", "b", "c"),))
    training = {"lr": 5e-3, "schedule": "constant", "warmup": 0, "max_epochs": 4, **settings}
    result = train_prompt(
        Task(corpus="c", lm="l", method=method, prompt={"length": 5}, training=training),
        TaskData(labels, learnable_examples(96), learnable_examples(24, seed=1), CODEBOOK),
        folder / "lm.safetensors",
        TrainingFiles(path, checkpoint=checkpoint, checkpoint_seconds=0.0),
        computation=Computation(device),
    )
    return result, path.read_bytes()


@pytest.mark.parametrize("method", ["prompt", "finetune"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_gives_the_same_bytes_again(tmp_path, method, precision):
    write_lm(tmp_path / "lm.safetensors")
    settings = {"method": method, "precision": precision, "lr": 1e-3}
    _, first = trained(tmp_path, "cuda", "first", **settings)
    _, again = trained(tmp_path, "cuda", "again", **settings)
    assert first == again


def test_a_training_ends_like_the_processors(tmp_path):
    write_lm(tmp_path / "lm.safetensors")
    here, _ = trained(tmp_path, "cpu", "here", precision="fp32")
    there, _ = trained(tmp_path, "cuda", "there", precision="fp32")
    assert there.valid_loss == pytest.approx(here.valid_loss, rel=0.05)


def test_a_training_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    """Cut off after some updates: state of the fused optimiser included, all is back on the GPU."""
    write_lm(tmp_path / "lm.safetensors")
    _, whole = trained(tmp_path, "cuda", "whole", precision="fp32")
    step, steps = fitting._step, []

    def stopping(*arguments):
        if len(steps) == 7:
            raise KeyboardInterrupt
        steps.append(1)
        step(*arguments)

    resumable = {"checkpoint": tmp_path / "state.safetensors"}
    monkeypatch.setattr(fitting, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, "cuda", "cut", precision="fp32", **resumable)
    monkeypatch.setattr(fitting, "_step", step)
    assert (tmp_path / "state.safetensors").exists()
    _, resumed = trained(tmp_path, "cuda", "cut", precision="fp32", **resumable)
    assert resumed == whole


def test_units_are_the_processors(tmp_path):
    """HuBERT base with random weights: as far as rounding goes, and in bf16 nearly so."""
    path = tmp_path / "hubert.safetensors"
    write_hubert(path, HUBERT_BASE)
    generator = torch.Generator().manual_seed(1)
    lengths = (*range(14_000, 16_000, 50), 70_001, 400)  # the short ones are computed together
    waveforms = [torch.randn(n, generator=generator) * 0.1 for n in lengths]

    def frames(device, precision="fp32"):
        encoder = load_encoder("hubert", weights=path, layer=6, precision=precision, device=device)
        return torch.cat(encoder.encode(waveforms)).numpy()

    here, there, fast = frames("cpu"), frames("cuda"), frames("cuda", "bf16")
    np.testing.assert_allclose(there, here, rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(frames("cuda"), there)
    codebook = MiniBatchKMeans(20, n_init=3, random_state=1).fit(here)
    units = codebook.predict(here)
    assert (codebook.predict(there) == units).mean() >= 0.999
    assert (codebook.predict(fast) == units).mean() > 0.9


def test_the_device_and_its_type():
    assert resolve_device("auto") == "cuda"
    fast = torch.cuda.get_device_capability() >= (8, 0)
    assert resolve_precision("auto", "cuda") == (torch.bfloat16 if fast else torch.float32)


def test_throughput(repository, tmp_path, capsys):
    """Rates and their shares of the card's own matrix peak, as `python -m benchmarks` has them."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--device", "cuda", "--quick"),
            *("--out", str(tmp_path)),
        ],
        cwd=repository,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "bench.json").read_text())["measurements"]
    assert {"151M", "hubert-base"} <= {row["model"] for row in rows}
    assert all(0 < row["share_of_peak"] < 1 for row in rows if "gflops" in row)
    with capsys.disabled():
        print("\n" + (tmp_path / "bench.md").read_text())
