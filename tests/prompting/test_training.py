"""Training: it learns, keeps the best, leaves the LM alone, resumes after a kill."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from interruption import killed_in_the_middle
from random_models import CODEBOOK, examples, learnable_examples, write_lm
from speechprompt.config.tasks import DecodingSettings, PromptSettings, Task
from speechprompt.errors import ArtefactError, ConfigError, CorpusError
from speechprompt.lm import Dictionary, LMConfig, UnitLM, save_lm
from speechprompt.models.shipped import FORMER
from speechprompt.prompting import training as train_module
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.task_file import load_task_model
from speechprompt.prompting.training import TaskData, evaluate_loss, train_prompt
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensors, write_tensors
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.examples import Examples
from speechprompt.tasks.sequences import Transcription
from speechprompt.training.job import Computation, TrainingFiles

LABELS = Classification(("label",), (("a", "b", "c"),))
PROMPT = {"length": 2}
TRAINING = {
    "batch_size": 16,
    "lr": 0.05,
    "max_epochs": 4,
    "schedule": "constant",
    "warmup": 0,
    "precision": "fp32",
}
ONE_THREAD = Computation(threads=1)


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return write_lm(tmp_path_factory.mktemp("lm") / "model.safetensors")


def task_of(method="prompt", verbalizer="frequency", balance=False, **options):
    """A task with settings of its prompt and of its training, by their names."""
    shape = {name: options.pop(name) for name in PromptSettings.model_fields if name in options}
    return Task(
        corpus="c",
        lm="l",
        method=method,
        verbalizer=verbalizer,
        balance=balance,
        prompt=PROMPT | shape,
        training=TRAINING | options,
    )


def data_of(train=None, valid=None, labels=LABELS, codebook=CODEBOOK):
    train = learnable_examples(80) if train is None else train
    return TaskData(labels, train, valid or learnable_examples(40, seed=1), codebook)


def run(lm, folder, data=None, name="prompt", seed=1, checkpoint=None, **options):
    path = folder / f"{name}.safetensors"
    files = TrainingFiles(path, folder / f"{name}.parquet", checkpoint)
    result = train_prompt(
        task_of(**options), data or data_of(), lm, files, computation=ONE_THREAD, seed=seed
    )
    return result, path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "both", "layers": [1]},
        {"mode": "infix", "init": "hidden"},
        {"mode": "query", "front": 4, "verbalizer": "learnable"},
        {"verbalizer": "learnable", "mode": "both", "layers": [1, 2]},
        {"method": "finetune", "lr": 1e-2},
        {"precision": "bf16"},
    ],
)
def test_it_learns(lm, tmp_path, options):
    result, path = run(lm, tmp_path, **{"max_epochs": 12, **options})
    rows = pq.read_table(tmp_path / "prompt.parquet").to_pylist()
    assert list(rows[0]) == ["epoch", "split", "loss", "accuracy", "lr"]
    learnt, valid = ([row for row in rows if row["split"] == s] for s in ("train", "valid"))
    assert min(row["loss"] for row in learnt) < 0.75 * learnt[0]["loss"]
    best = min(valid, key=lambda row: row["loss"])
    assert (best["epoch"], best["loss"]) == (result.best_epoch, result.valid_loss)
    assert path.exists()


def test_the_written_prompt_is_the_best_one(lm, tmp_path):
    result, path = run(lm, tmp_path, max_epochs=12, patience=3, lr=0.3)
    task = load_task_model(path, lm, CODEBOOK)
    valid = learnable_examples(40, seed=1)
    sums = evaluate_loss(task, valid, 64)
    assert sums.loss / sums.weight == pytest.approx(result.valid_loss, rel=1e-5)
    assert sums.n_correct / sums.n_answers == pytest.approx(result.valid_accuracy)
    assert result.epochs in (12, result.best_epoch + 3)


def test_units_are_left_out_in_training_only(lm, tmp_path, monkeypatch):
    seen = {True: [], False: []}
    original = train_module.TaskModel.loss

    def loss(self, units, labels, prompt):
        seen[torch.is_grad_enabled()] += [
            (len(row), label) for row, label in zip(units, labels, strict=True)
        ]
        return original(self, units, labels, prompt)

    monkeypatch.setattr(train_module.TaskModel, "loss", loss)
    data, valid = learnable_examples(400), learnable_examples(40, seed=1)
    run(lm, tmp_path, data_of(data, valid), max_epochs=2, unit_dropout=0.25)
    whole = 2 * sum(map(len, data.units))
    assert 0.7 * whole < sum(length for length, _ in seen[True]) < 0.8 * whole
    assert sorted(label for _, label in seen[True]) == sorted(2 * data.labels)
    assert sum(length for length, _ in seen[False]) == 2 * sum(map(len, valid.units))


def test_label_smoothing_spreads_targets_over_what_is_allowed_in_training_only(lm, tmp_path):
    labels = Classification(("a", "b"), (("x", "y", "z"), ("u", "v")))
    units = learnable_examples(16).units
    data = Examples([str(i) for i in range(16)], units, [[i % 3, 3 + i % 2] for i in range(16)])
    settings = {"verbalizer": "learnable", "mode": "query", "max_epochs": 1}
    _, path = run(lm, tmp_path, data_of(data, data, labels), **settings)
    task = load_task_model(path, lm, CODEBOOK)
    plain = task.loss(data.units, data.labels, task.prompt_tensors()).total.item()
    every = [[a, b] for a in range(3) for b in (3, 4)]
    spread = [
        task.loss(data.units, [answer] * 16, task.prompt_tensors()).total.item() for answer in every
    ]
    task.smoothing = 0.25
    smoothed = task.loss(data.units, data.labels, task.prompt_tensors()).total.item()
    assert smoothed == pytest.approx(0.75 * plain + 0.25 * np.mean(spread), rel=1e-5)
    with torch.no_grad():
        held_out = task.loss(data.units, data.labels, task.prompt_tensors()).total.item()
    assert held_out == pytest.approx(plain, rel=1e-6)
    results = [
        run(lm, tmp_path, data_of(data, data, labels), label_smoothing=share, **settings)[0]
        for share in (0.0, 0.5)
    ]
    assert results[0].valid_loss != results[1].valid_loss


def test_patience_stops_and_the_file_says_how_it_ended(lm, tmp_path):
    result, path = run(lm, tmp_path, max_epochs=50, patience=2, lr=1.0)
    assert result.epochs == result.best_epoch + 2 < 50
    metadata = read_tensors(path)[1]
    assert metadata["training"]["epochs"] == result.epochs
    assert metadata["labels"] == ["a", "b", "c"]
    assert metadata["trainable_parameters"] == result.trainable_parameters == 2 * 3 * 2 * 32 + 32


def test_only_the_prompt_is_trained(lm, tmp_path, monkeypatch):
    before = lm.read_bytes()
    tasks = []
    original = train_module.TaskModel
    monkeypatch.setattr(
        train_module, "TaskModel", lambda *a, **k: tasks.append(original(*a, **k)) or tasks[-1]
    )
    run(lm, tmp_path)
    stored, _ = read_tensors(lm)
    from speechprompt.lm.fairseq import weights

    for name, tensor in weights(tasks[0].model).items():
        assert torch.equal(tensor, stored[name]), name
        assert not tensor.requires_grad
    assert lm.read_bytes() == before


def test_finetuning_trains_and_stores_the_whole_lm(lm, tmp_path):
    result, path = run(lm, tmp_path, method="finetune", lr=1e-3)
    stored, _ = read_tensors(lm)
    tuned, metadata = read_tensors(path)
    assert tuned.keys() == {f"lm.{name}" for name in stored}
    assert result.trainable_parameters == sum(t.numel() for t in stored.values())
    assert metadata["method"] == "finetune"
    assert not torch.equal(tuned["lm.layers.0.fc1.weight"], stored["layers.0.fc1.weight"])


def test_one_batch_in_pieces_has_the_gradient_of_the_whole(lm, tmp_path):
    _, whole = run(lm, tmp_path, name="whole", micro_tokens=10_000, dropout=0.1)
    _, pieces = run(lm, tmp_path, name="pieces", micro_tokens=20, dropout=0.1)
    ours, theirs = read_tensors(whole)[0], read_tensors(pieces)[0]
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=1e-3), name


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(lm, tmp_path):
    first, again, other = (
        run(lm, tmp_path, name=name, seed=seed, dropout=0.2, max_epochs=2)[1].read_bytes()
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again != other


@pytest.mark.parametrize("method", ["prompt", "finetune"])
def test_a_killed_run_resumes_to_the_same_bytes(lm, tmp_path, method):
    task = task_of(method, dropout=0.2, lr=0.01)
    whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
    checkpoint = tmp_path / "checkpoint.safetensors"
    train_prompt(task, data_of(), lm, TrainingFiles(whole), computation=ONE_THREAD)
    arguments = [task, data_of(), lm, TrainingFiles(resumed, None, checkpoint, 0)]
    computation = {"computation": ONE_THREAD}
    killed_in_the_middle(train_prompt, arguments, computation, checkpoint, writes=9)
    assert not resumed.exists()
    counted = count_updates(lambda: train_prompt(*arguments, **computation))
    assert counted == 4 * 5 - 8  # the ninth write ended epoch 2's third update, one ended epoch 1
    assert resumed.read_bytes() == whole.read_bytes()
    assert not checkpoint.exists()


def count_updates(training):
    count = 0
    original = torch.optim.AdamW.step

    def step(self, *args, **options):
        nonlocal count
        count += 1
        return original(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        training()
    return count


def test_a_checkpoint_of_other_settings_is_ignored(lm, tmp_path, capsys):
    checkpoint = tmp_path / "checkpoint.safetensors"
    write_tensors(checkpoint, {}, {"fingerprint": "other", "state": {}})
    _, path = run(lm, tmp_path, checkpoint=checkpoint, max_epochs=1)
    assert "checkpoint of another training ignored" in capsys.readouterr().err
    assert path.exists()
    assert not checkpoint.exists()


def test_bad_input_is_refused(lm, tmp_path):
    with pytest.raises(ArtefactError, match=r"codebook ccc.*in use is eee"):
        run(lm, tmp_path, data_of(codebook="e" * 64))
    with pytest.raises(CorpusError, match="valid: expected utterances"):
        TaskData(LABELS, learnable_examples(80), Examples([], [], []), CODEBOOK)
    long = Examples(["long-one"], [np.zeros(126, int)], [[0]])
    with pytest.raises(CorpusError, match=r"train: utterance 'long-one' needs 129.*has 128"):
        run(lm, tmp_path, data_of(long))
    many = Classification(("label",), (tuple(map(str, range(21))),))
    with pytest.raises(ConfigError, match="21 labels"):
        run(lm, tmp_path, data_of(labels=many))
    with pytest.raises(ConfigError, match="method"):
        run(lm, tmp_path, method="downstream")
    assert not (tmp_path / "prompt.safetensors").exists()


@pytest.mark.parametrize("mode", ["deep", "both"])
def test_asr_lengths_train_and_decode(tmp_path, mode):
    """175 prompt rows, utterances up to the last of 3,072 positions, answers of 173 labels."""
    model = UnitLM(LMConfig(24, layers=1, heads=2, dim=16, ffn=16))
    lm = tmp_path / "long.safetensors"
    save_lm(lm, model, Dictionary(range(20)), CODEBOOK)
    rng = np.random.default_rng(0)
    lengths = [3072 - 2 - 173, 2000, 800]
    units = [rng.integers(0, 20, n) for n in lengths]
    labels = [rng.integers(0, 3, 173).tolist() for _ in lengths]
    data = Examples(["a", "b", "c"], units, labels)
    data = data_of(data, data, labels=Transcription(("text",), ("a", "b", "c")))
    options = {"length": 175, "mode": mode, "micro_tokens": 4096}
    result, path = run(lm, tmp_path, data, max_epochs=2, **options)
    assert np.isfinite(result.valid_loss)
    answers = predict(load_task_model(path, lm), units, DecodingSettings(max_length=173)).labels
    assert max(map(len, answers)) <= 173


def test_a_prompt_refuses_another_lm(lm, tmp_path, monkeypatch):
    _, path = run(lm, tmp_path, max_epochs=1)
    other = write_lm(tmp_path / "other.safetensors", seed=5)
    with pytest.raises(ArtefactError, match=r"trained with lm_sha256 \w+, but .*other"):
        load_task_model(path, other, CODEBOOK)
    with pytest.raises(ArtefactError, match="codebook"):
        load_task_model(path, lm, "e" * 64)
    monkeypatch.setitem(FORMER, sha256_file(lm), "0.0.9")
    with pytest.raises(ArtefactError, match=r"train the prompt again; version 0\.0\.9 "):
        load_task_model(path, other, CODEBOOK)


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_a_damaged_prompt_is_refused(lm, tmp_path, change):
    _, path = run(lm, tmp_path, max_epochs=1)
    tensors, metadata = read_tensors(path)
    if change == "missing":
        del tensors["keys"]
    elif change == "surplus":
        tensors["rows"] = torch.zeros(2, 32)
    else:
        tensors["keys"] = torch.zeros(3, 1, 32)
    write_tensors(path, tensors, metadata)
    with pytest.raises(ArtefactError, match=r"prompt\.safetensors.*expected"):
        load_task_model(path, lm, CODEBOOK)


def test_labels_that_are_written_learn_shifts_that_their_file_must_have(lm, tmp_path):
    data = examples(40, [[0, 1, 2]] * 3)
    data = data_of(data, data, labels=Transcription(("text",), ("a", "b", "c")))
    result, path = run(lm, tmp_path, data, verbalizer="learnable", mode="query", dropout=0.1)
    tensors, metadata = read_tensors(path)
    assert tensors["label_shifts"].shape == (3, 3, 32)
    assert (tensors["label_shifts"].abs().amax(2) > 0).all()
    assert metadata["trainable_parameters"] == sum(t.numel() for t in tensors.values())
    task = load_task_model(path, lm, CODEBOOK)
    assert torch.equal(task.prompt.label_shifts, tensors["label_shifts"])
    sums = evaluate_loss(task, data.valid, 64)
    assert sums.loss / sums.weight == pytest.approx(result.valid_loss, rel=1e-5)
    del tensors["label_shifts"]
    write_tensors(path, tensors, metadata)
    with pytest.raises(ArtefactError, match=r"prompt\.safetensors.*missing: label_shifts"):
        load_task_model(path, lm, CODEBOOK)


def test_examples_of_several_columns_train_too(lm, tmp_path):
    columns = [[0, 1, 2], [3, 4]]
    labels = Classification(("one", "two"), (("a", "b", "c"), ("d", "e")))
    assert labels.allowed == columns
    data = data_of(examples(40, columns), examples(10, columns, seed=3), labels)
    result, _ = run(lm, tmp_path, data, balance=True)
    assert 0 <= result.valid_accuracy <= 1


def two_columns(n, seed=0):
    """Utterances whose two labels their last and their first unit tell."""
    drawn = learnable_examples(n, seed=seed)
    labels = [[int(row[-1]) % 3, 3 + int(row[0]) % 2] for row in drawn.units]
    return Examples(drawn.utt_ids, drawn.units, labels)


@pytest.mark.parametrize(
    ("method", "mode"), [("prompt", "deep"), ("prompt", "query"), ("finetune", "deep")]
)
def test_a_learnable_verbalizer_of_several_columns_is_trained_and_read_again(
    lm, tmp_path, method, mode
):
    labels = Classification(("one", "two"), (("a", "b", "c"), ("d", "e")))
    valid = two_columns(40, seed=1)
    data = data_of(two_columns(80), valid, labels)
    lr = 1e-2 if method == "finetune" else 0.05
    options = {
        "verbalizer": "learnable",
        "method": method,
        "max_epochs": 25,
        "lr": lr,
        "mode": mode,
    }
    result, path = run(lm, tmp_path, data, **options)
    rows = pq.read_table(tmp_path / "prompt.parquet").to_pylist()
    learnt = [row["loss"] for row in rows if row["split"] == "train"]
    assert min(learnt) < 0.75 * learnt[0]
    tensors, metadata = read_tensors(path)
    places = 1 + metadata["prompt"]["length"] if mode == "query" else 1
    assert tensors["verbalizer.weight"].shape == (5, 20 * places)
    assert metadata["trainable_parameters"] == sum(t.numel() for t in tensors.values())
    task = load_task_model(path, lm, CODEBOOK)
    assert torch.equal(task.verbalizer.weight, tensors["verbalizer.weight"])
    start = F.one_hot(torch.tensor(task.verbalizer.units), 20)
    moved = (tensors["verbalizer.weight"][:, -20:] - start).abs()
    assert (moved.sum(1) > 0).all()
    assert 0.05 <= metadata["temperature"] <= 20  # of both columns
    # Exactly the answers that greedy decoding gets right are right under teacher forcing.
    sums = evaluate_loss(task, valid, 64)
    answers = predict(task, valid.units).labels
    right = np.mean([found == wanted for found, wanted in zip(answers, valid.labels, strict=True)])
    assert right == sums.n_correct / sums.n_answers == pytest.approx(result.valid_accuracy)


def with_renditions(data, renditions):
    return replace(data, train=replace(data.train, renditions=renditions))


def test_renditions_are_learnt_from(lm, tmp_path):
    # Only one of four things that are heard of an utterance tells its label.
    data = data_of(learnable_examples(120))
    noise = learnable_examples(120, seed=9).units
    told = [[row, row, row] for row in data.train.units]
    heard = with_renditions(replace(data, train=replace(data.train, units=noise)), told)
    options = {"method": "finetune", "verbalizer": "learnable", "lr": 1e-2, "max_epochs": 25}
    deaf, _ = run(lm, tmp_path / "deaf", with_renditions(heard, []), **options)
    result, _ = run(lm, tmp_path / "heard", heard, **options)
    assert result.valid_accuracy > deaf.valid_accuracy + 0.1
    again, _ = run(lm, tmp_path / "again", heard, **options)
    assert again.valid_loss == result.valid_loss


def test_a_rendition_that_is_too_long_is_not_drawn(lm, tmp_path):
    data = data_of(learnable_examples(20))
    long = [[np.arange(5_000) % 20] for _ in range(20)]
    result, _ = run(lm, tmp_path / "long", with_renditions(data, long), max_epochs=1)
    without, _ = run(lm, tmp_path / "without", data, max_epochs=1)
    assert result.valid_loss == without.valid_loss
