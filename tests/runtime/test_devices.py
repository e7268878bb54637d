"""Training, decoding and encoding on a mock GPU."""

import numpy as np
import pytest
import torch
from torchaudio.models import wav2vec2_model

from mock_gpu import DEVICE, READS, mock_gpu
from random_models import CODEBOOK, TWO, examples, random_lm, random_units, task_model
from speechprompt.config.models import PretrainingTaskSettings
from speechprompt.config.tasks import DecodingSettings, Task
from speechprompt.encoders.hubert_layers import HubertLayers
from speechprompt.lm import Dictionary, LoadedLM
from speechprompt.lm.pretraining import _sums
from speechprompt.lm.pretraining_tasks import Questions, make_up_tasks
from speechprompt.lm.sequence_tasks import Dictation
from speechprompt.prompting import training
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.training import TaskData
from speechprompt.tasks.classification import Classification
from speechprompt.training.job import Computation, TrainingFiles

UNITS = random_units(9)


def on_both(compute):
    """Compute the same on the CPU and on the mock GPU."""
    here = compute("cpu")
    with mock_gpu() as device:
        there = compute(device)
    return here, there


def test_two_devices_are_not_mixed():
    with mock_gpu() as device:
        there = torch.arange(3.0, device="cpu").to(device)
        assert (there * 2).cpu().tolist() == [0.0, 2.0, 4.0]
        with pytest.raises(AssertionError, match="two devices"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError):
            there.numpy()


@pytest.mark.parametrize(
    ("mode", "kind", "allowed"),
    [
        ("deep", "frequency", TWO),
        ("deep", "learnable", [[0, 1, 2, 3, 4]]),
        ("input", "frequency", None),
        ("both", "frequency", TWO),
        ("infix", "frequency", TWO),
        ("query", "frequency", TWO),
        ("query", "learnable", TWO),
        ("query", "learnable", None),
        (None, "frequency", TWO),
    ],
)
def test_loss_and_gradients_of_a_training_step(mode, kind, allowed):
    columns = [range(8)] * 3 if allowed is None else allowed
    batch = examples(9, columns)

    def step(device):
        task = task_model(device, mode, kind, allowed)
        loss = task.loss(batch.units, batch.labels, task.prompt_tensors(5))
        loss.total.backward()
        gradients = {
            n: p.grad.cpu() for n, p in task.named_parameters().items() if p.grad is not None
        }
        return loss.total.item(), loss.correct.cpu().tolist(), gradients

    here, there = on_both(step)
    # The mock GPU computes attention in another order.
    assert there[0] == pytest.approx(here[0], rel=1e-5)
    assert there[1] == here[1]
    assert here[2]
    torch.testing.assert_close(there[2], here[2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("allowed", "settings"),
    [
        (TWO, {}),
        ([[0, 1, 2, 3, 4]], {}),
        (TWO, {"free": True}),
        (TWO, {"beam": 2}),
        (None, {"max_length": 4}),
        (None, {"max_length": 4, "beam": 3}),
    ],
)
def test_answers(allowed, settings, dtype):
    def decode(device):
        found = predict(
            task_model(device, "deep", allowed=allowed, dtype=dtype),
            UNITS,
            DecodingSettings(**settings),
        )
        return found.labels, found.scores.tolist()

    (labels, scores), (labels_there, scores_there) = on_both(decode)
    if dtype == torch.float32:
        assert labels_there == labels
    same = [i for i, row in enumerate(labels) if labels_there[i] == row]
    assert len(same) >= len(labels) - 2  # of two nearly equal answers bf16 may find the other
    tolerance = 1e-4 if dtype == torch.float32 else 0.3
    assert [scores_there[i] for i in same] == pytest.approx(
        [scores[i] for i in same], abs=tolerance
    )


@pytest.mark.parametrize("method", ["prompt", "finetune"])
def test_a_training_reads_nothing_back_between_its_reports(tmp_path, monkeypatch, method):
    """However many updates and micro-batches an epoch has, the host reads its sums once."""
    monkeypatch.setattr(Computation, "start", lambda *_: (DEVICE, torch.float32))
    adamw = torch.optim.AdamW  # of whose kinds the mock GPU has the plain one
    plain = {"fused": False, "foreach": False}
    monkeypatch.setattr(torch.optim, "AdamW", lambda p, **settings: adamw(p, **settings | plain))
    labels = Classification(("label",), (("a", "b", "c"),))

    def reads(n):
        with mock_gpu():
            lm = random_lm().to(DEVICE).freeze()
            loaded = LoadedLM(lm, Dictionary(range(20)), "lm", CODEBOOK, {})
            monkeypatch.setattr(training, "load_lm", lambda *_: loaded)
            settings = {"batch_size": 8, "micro_tokens": 60, "max_epochs": 2}
            before = len(READS)
            training.train_prompt(
                Task(corpus="c", lm="l", method=method, prompt={"length": 5}, training=settings),
                TaskData(labels, examples(n), examples(6, seed=1), CODEBOOK),
                tmp_path / "lm.safetensors",
                TrainingFiles(tmp_path / f"{n}.safetensors"),
                computation=Computation("cpu"),
            )
            return len(READS) - before

    assert reads(64) == reads(16) > 0


@pytest.mark.parametrize("kind", [Questions, Dictation])
def test_pretraining_of_a_unit_lm(kind):
    units = random_units(16)
    sequences = [Dictionary(range(20)).sentence(row) for row in units]
    every = np.arange(len(units))
    settings = PretrainingTaskSettings(tasks=2, slots=2, classes=[2], sequences=1)
    names = [f"c/{i}" for i in every]

    def step(device):
        model = random_lm()
        tasks = make_up_tasks(model.config, names, units, every, settings, 1).to(device)
        asked = next(q for s in range(99) if isinstance(q := tasks.draw(every, s), kind))
        sums = _sums(model.to(device), sequences, [every.tolist()], torch.float32, asked)
        trained = [*model.named_parameters(), *tasks.named_parameters()]
        gradients = {name: p.grad.cpu() for name, p in trained if p.grad is not None}
        return float(sums.loss), gradients

    (loss, gradients), (loss_there, gradients_there) = on_both(step)
    assert len(gradients) == len(dict(random_lm().named_parameters())) + (
        6 if kind is Questions else 4
    )
    assert loss_there == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(gradients_there, gradients, rtol=1e-4, atol=1e-4)


def test_encoding():
    """HuBERT base's and large's kinds of layers, over several pieces and blocks."""
    for mode, first in (("group_norm", False), ("layer_norm", True)):
        torch.manual_seed(1)
        model = wav2vec2_model(
            extractor_mode=mode,
            extractor_conv_layer_config=[[16, 10, 5], *[[16, 3, 2]] * 4, *[[16, 2, 2]] * 2],
            extractor_conv_bias=first,
            encoder_embed_dim=32,
            encoder_projection_dropout=0.0,
            encoder_pos_conv_kernel=128,
            encoder_pos_conv_groups=4,
            encoder_num_layers=2,
            encoder_num_heads=2,
            encoder_attention_dropout=0.0,
            encoder_ff_interm_features=64,
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.0,
            encoder_layer_norm_first=first,
            encoder_layer_drop=0.0,
            aux_num_out=None,
        ).eval()
        torch.nn.utils.parametrize.remove_parametrizations(
            model.encoder.transformer.pos_conv_embed.conv, "weight"
        )
        waveforms = [torch.randn(n) for n in (16_000, 400, 180_000, 16_000, 15_000, 15_900)]

        @torch.no_grad()
        def encode(device, model=model, waveforms=waveforms):
            layers = HubertLayers(model.to(device), torch.float32)
            return [frames.cpu() for frames in layers(waveforms)]

        here, there = on_both(encode)
        for frames, frames_there in zip(here, there, strict=True):
            torch.testing.assert_close(frames_there, frames, rtol=1e-3, atol=1e-4)
