"""Prompts that start from one that tells words apart: exact, quick to fit, hard to misuse."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from scipy.special import log_softmax, logsumexp
from sklearn.linear_model import LogisticRegression

from interruption import killed_in_the_middle
from random_models import CODEBOOK, random_units, write_lm
from speechprompt.config.tasks import PromptSettings, Task
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.lm.artefact import load_lm
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.start import Start, make_start
from speechprompt.prompting.task_file import load_task_model
from speechprompt.prompting.training import TaskData, train_prompt
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensors, write_tensors
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.examples import Examples
from speechprompt.training.job import Computation, TrainingFiles
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units

WORDS = 16
READERS = 12
LENGTH, MEMBERS, UNITS = 6, 2, 20
GROUPS = 4


def task_of(prompt, columns=("label",), balance=False, **training):
    return Task(
        corpus="c",
        lm="l",
        labels=list(columns),
        verbalizer="learnable",
        balance=balance,
        prompt=prompt,
        training={"precision": "fp32", "batch_size": 16, "warmup": 0, **training},
    )


def train(folder, lm, task, train, valid=None, labels=None, start=None):
    n = 1 + max(label for row in train.labels for label in row)
    labels = labels or Classification(("label",), (tuple(map(str, range(n))),))
    path = folder / "prompt.safetensors"
    result = train_prompt(
        task,
        TaskData(labels, train, valid or train, CODEBOOK),
        lm,
        TrainingFiles(path, folder / "curve.parquet"),
        computation=Computation(threads=1),
        start=start,
    )
    return result, path


def write_index(folder, units, codebook=CODEBOOK):
    part = folder / "part-00000-of-00001.parquet"
    rows = {"utt_id": [f"utt-{i}" for i in range(len(units))], "units": units}
    rows["label"] = ["a"] * len(units)
    metadata = UnitsMetadata("k", codebook, UNITS, True)
    write_units(part, rows, label_columns=["label"], metadata=metadata)
    gather_units([part], folder / "index.json", corpus="c", split="valid")
    return folder / "index.json"


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Folder, unit LM and start file of a prompt that tells which of 16 words was said last."""
    folder = tmp_path_factory.mktemp("start")
    lm = write_lm(folder / "lm.safetensors")
    shape = {"mode": "query", "length": LENGTH, "members": MEMBERS, "dropout": 0.0}
    learnt = task_of(shape, max_epochs=20, lr=0.03)
    result, prompt = train(folder, lm, learnt, words_of(600))
    assert result.valid_accuracy > 0.7
    index = write_index(folder, random_units(60, shortest=4, seed=5))
    make_start(prompt, lm, index, folder / "start.safetensors", readers=READERS)
    return folder, lm, folder / "start.safetensors"


def words_of(n, seed=0):
    """Utterances of a few units, whose last one is the word."""
    rng = np.random.default_rng(seed)
    units = [rng.integers(0, UNITS, rng.integers(2, 5)) for _ in range(n)]
    labels = [[int(word)] for word in rng.integers(0, WORDS, n)]
    units = [np.append(row, word) for row, word in zip(units, labels, strict=True)]
    return Examples([f"utt-{i}" for i in range(n)], units, labels)


def groups_of_words(n, seed):
    """Utterances of words that are heard twice, the second time without their first unit."""
    found = words_of(n, seed)
    labels = [[row[0] // (WORDS // GROUPS)] for row in found.labels]
    return replace(found, labels=labels, renditions=[[row[1:]] for row in found.units])


def test_answers_are_those_of_a_logistic_regression_for_each_member(started, tmp_path):
    _, lm, start = started
    few, asked = groups_of_words(40, 1), groups_of_words(50, 2)
    _, path = train(tmp_path, lm, task_of({"start": str(start)}, max_epochs=0), few, start=start)
    model = load_task_model(path, lm)
    readers = read_tensors(start)[0]["readers"]
    assert readers.shape == (MEMBERS, READERS + 1, (LENGTH + 1) * UNITS)

    def read(utterances):
        units = [row for rows in utterances.heard() for row in rows]
        with torch.no_grad():
            hidden = model.read(units, model.prompt_tensors()).hidden
            scores = model.model.logits(hidden).index_select(-1, model.unit_ids)
        by_member = scores.reshape(len(units), MEMBERS, -1)
        return np.stack([(by_member[:, m] @ readers[m].T).numpy() for m in range(MEMBERS)])

    targets = np.repeat([row[0] for row in few.labels], 2)
    tables = [
        LogisticRegression(fit_intercept=False, max_iter=300)
        .fit(learnt, targets)
        .decision_function(heard)
        for learnt, heard in zip(read(few), read(asked), strict=True)
    ]
    by_member = log_softmax(np.stack(tables), axis=-1)
    together = logsumexp(by_member, axis=0).reshape(len(asked), 2, GROUPS).mean(axis=1)
    expected = log_softmax(together, axis=-1)
    found = predict(model, asked.units, renditions=asked.renditions).label_scores
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_readers_are_centred_of_one_scale_and_one_is_constant(started):
    folder, lm, start = started
    model = load_task_model(folder / "prompt.safetensors", lm)
    units = random_units(60, shortest=4, seed=5)
    with torch.no_grad():
        hidden = model.read(units, model.prompt_tensors()).hidden
        scores = model.model.logits(hidden).index_select(-1, model.unit_ids)
    for m, readers in enumerate(read_tensors(start)[0]["readers"]):
        table = (scores.reshape(60, MEMBERS, -1)[:, m] @ readers.T).numpy()
        np.testing.assert_allclose(table[:, -1].mean(), 1, atol=0.01)
        assert table[:, -1].std() < 0.05
        np.testing.assert_allclose(table[:, :-1].mean(axis=0), 0, atol=0.01)
        assert table[:, :-1].std() == pytest.approx(0.13, rel=0.02)


def test_few_utterances_are_enough(started, tmp_path):
    _, lm, start = started
    few, valid, asked = (groups_of_words(n, seed) for n, seed in ((64, 3), (60, 6), (300, 4)))

    def accuracy(task, start=None):
        _, path = train(tmp_path, lm, task, few, valid, start=start)
        found = predict(load_task_model(path, lm), asked.units).labels
        return np.mean([a == b for a, b in zip(found, asked.labels, strict=True)])

    scratch = {"mode": "query", "length": LENGTH, "members": MEMBERS, "dropout": 0.0}
    alone = accuracy(task_of(scratch, max_epochs=20, lr=0.03))
    ours = accuracy(task_of({"start": str(start)}, max_epochs=0), start)
    assert ours > alone + 0.1, (ours, alone)


def test_training_goes_on_from_the_start_and_keeps_the_best(started, tmp_path):
    _, lm, start = started
    few, valid = groups_of_words(200, 3), groups_of_words(60, 6)
    arguments = (few, valid, None, start)
    first, path = train(tmp_path, lm, task_of({"start": str(start)}, max_epochs=0), *arguments)
    assert (first.best_epoch, first.epochs, first.updates) == (0, 0, 0)
    at_first = read_tensors(path)[0]
    rows = pq.read_table(tmp_path / "curve.parquet").to_pylist()
    assert [(row["epoch"], row["split"]) for row in rows] == [(0, "train"), (0, "valid")]
    assert rows[1]["loss"] == pytest.approx(first.valid_loss)

    better, _ = train(tmp_path, lm, task_of({"start": str(start)}, lr=3e-3), *arguments)
    assert better.best_epoch > 0
    assert better.valid_loss < first.valid_loss
    worse, path = train(tmp_path, lm, task_of({"start": str(start)}, lr=3.0), *arguments)
    assert worse.best_epoch == 0
    for name, tensor in read_tensors(path)[0].items():
        torch.testing.assert_close(tensor, at_first[name])


def test_a_killed_run_keeps_the_start_as_the_best(started, tmp_path):
    _, lm, start = started
    labels = Classification(("label",), (tuple(map(str, range(GROUPS))),))
    few, valid = groups_of_words(64, 3), groups_of_words(60, 6)
    task = task_of({"start": str(start)}, lr=3.0, max_epochs=3)  # no epoch is better
    whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
    checkpoint = tmp_path / "checkpoint.safetensors"
    arguments = [task, TaskData(labels, few, valid, CODEBOOK), lm]
    keywords = {"computation": Computation(threads=1), "start": start}
    result = train_prompt(*arguments, TrainingFiles(whole), **keywords)
    assert (result.best_epoch, result.epochs) == (0, 3)
    arguments.append(TrainingFiles(resumed, None, checkpoint, 0))
    killed_in_the_middle(train_prompt, arguments, keywords, checkpoint, writes=7)
    train_prompt(*arguments, **keywords)
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_label_that_no_utterance_has_is_never_answered(started, tmp_path):
    _, lm, start = started
    few = groups_of_words(60, 7)
    few = replace(few, labels=[[0 if row == [2] else row[0]] for row in few.labels])
    labels = Classification(("label",), (tuple("abcd"),))
    task = task_of({"start": str(start)}, max_epochs=0)
    _, path = train(tmp_path, lm, task, few, labels=labels, start=start)
    asked = groups_of_words(200, 8)
    assert [2] not in predict(load_task_model(path, lm), asked.units).labels


def test_two_columns_have_a_regression_each(started, tmp_path):
    _, lm, start = started
    found = words_of(300, 9)
    labels = Classification(("half", "odd"), (("a", "b"), ("c", "d")))
    both = Examples(found.utt_ids, found.units, [[w // 8, 2 + w % 2] for (w,) in found.labels])
    task = task_of({"start": str(start)}, ("half", "odd"), max_epochs=0, balance=True)
    valid = replace(both, utt_ids=list(both.utt_ids))  # chooses the penalty
    result, _ = train(tmp_path, lm, task, both, valid, labels, start)
    assert result.valid_accuracy > 0.6  # by chance 0.25


def test_a_start_that_does_not_fit_is_refused(started, tmp_path):
    folder, lm, start = started
    loaded = load_lm(lm, CODEBOOK)
    with pytest.raises(ArtefactError, match="not a prompt to start from"):
        Start.load(folder / "prompt.safetensors", loaded)
    other = write_lm(tmp_path / "other.safetensors", seed=3)
    with pytest.raises(ArtefactError, match="trained with the unit LM"):
        Start.load(start, load_lm(other, CODEBOOK))
    tensors, metadata = read_tensors(start)
    cut = tmp_path / "cut.safetensors"
    write_tensors(cut, tensors | {"readers": tensors["readers"][:, :, 1:].contiguous()}, metadata)
    with pytest.raises(ArtefactError, match="readers: expected 2 x N x 140"):
        Start.load(cut, loaded)
    write_tensors(cut, {name: t for name, t in tensors.items() if name != "readers"}, metadata)
    with pytest.raises(ArtefactError, match="readers"):
        Start.load(cut, loaded)
    longer = {**metadata, "prompt": {**metadata["prompt"], "length": 10**9}}
    write_tensors(cut, tensors, longer)
    with pytest.raises(ArtefactError, match="the prompt that it describes"):
        Start.load(cut, loaded)
    write_tensors(cut, tensors, {n: v for n, v in metadata.items() if n != "lm_sha256"})
    with pytest.raises(ArtefactError, match=r"cut\.safetensors"):
        Start.load(cut, loaded)


def test_settings_and_file_go_together(started, tmp_path):
    _, lm, start = started
    few = groups_of_words(20, 1)
    with pytest.raises(ConfigError, match="found 'words' in the settings, and no file"):
        train(tmp_path, lm, task_of({"start": "words"}, max_epochs=0), few)
    with pytest.raises(ConfigError, match="found None in the settings, and file"):
        train(tmp_path, lm, task_of({"mode": "query"}, max_epochs=1), few, start=start)
    _, path = train(tmp_path, lm, task_of({"start": "w"}, max_epochs=0), few, start=start)
    assert read_tensors(path)[1]["start_sha256"] == sha256_file(start)


def test_only_a_prompt_of_many_words_makes_a_start(started, tmp_path):
    folder, lm, _ = started
    index, out = folder / "index.json", tmp_path / "start.safetensors"
    with pytest.raises(ConfigError, match="expected over 16 labels, found 16"):
        make_start(folder / "prompt.safetensors", lm, index, out, readers=16)
    _, deep = train(tmp_path, lm, task_of({}, max_epochs=1), words_of(60))
    with pytest.raises(ConfigError, match="query rows"):
        make_start(deep, lm, index, out)
    (tmp_path / "units").mkdir()
    foreign = write_index(tmp_path / "units", random_units(5), "d" * 64)
    with pytest.raises(ArtefactError, match="codebook"):
        make_start(folder / "prompt.safetensors", lm, foreign, out, readers=READERS)
    assert not out.exists()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"prompt": {"start": "w", "length": 8}}, "length: is that of `start`"),
        ({"prompt": {"start": "w", "mode": "deep"}}, "mode: is that of `start`"),
        ({"prompt": {"start": "w"}, "verbalizer": "frequency"}, "prompt.start: needs"),
        ({"prompt": {"start": "w"}, "type": "transcription", "labels": []}, "prompt.start: needs"),
        ({"training": {"max_epochs": 0}}, "max_epochs: 0 needs `prompt.start`"),
        ({"finetuning": {"max_epochs": 0}}, "greater than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other(block, message):
    with pytest.raises(ValidationError, match=message):
        Task.model_validate({"corpus": "c", "lm": "l", "verbalizer": "learnable", **block})


def test_a_start_needs_no_other_setting():
    settings = PromptSettings(start="words.safetensors")
    assert settings.mode == "query"
    assert PromptSettings.model_validate(settings.model_dump()) == settings
