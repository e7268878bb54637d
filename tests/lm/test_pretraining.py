"""Pre-training: what it reads, that it learns, that it resumes to the same bytes."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from interruption import killed_in_the_middle
from speechprompt.config.models import UnitLmSettings
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.lm import load_lm, pretraining_tasks
from speechprompt.lm import pretraining as pretrain
from speechprompt.lm.pretraining import pretrain_unit_lm, read_sentences
from speechprompt.storage.files import read_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensor_metadata, read_tensors
from speechprompt.training.job import Computation, TrainingFiles
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units


def write_split(folder, corpus="c", split="train", n=120, codebook="k", seed=0, parts=2):
    """A split whose sequences count up from a random unit: easy to learn."""
    rng = np.random.default_rng(seed)
    paths = []
    for part in range(parts):
        start = rng.integers(0, 10, n // parts)
        rows = [[int(s + k) % 10 for k in range(rng.integers(3, 12))] for s in start]
        path = folder / corpus / split / f"part-{part:05d}-of-{parts:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_units(
            path,
            {
                "utt_id": [f"{split}-{part}-{i}" for i in range(len(rows))],
                "units": rows,
                "label": ["yes"] * len(rows),
            },
            label_columns=["label"],
            metadata=UnitsMetadata(codebook, codebook * 64, 10, True),
        )
        paths.append(path)
    index = folder / corpus / split / "index.json"
    gather_units(paths, index, corpus=corpus, split=split)
    return index


ONE_THREAD = {"computation": Computation(threads=1)}
SMALL = {
    "layers": 2,
    "heads": 2,
    "dim": 16,
    "ffn": 32,
    "lr": 1e-2,
    "warmup": 5,
    "batch_tokens": 100,
    "max_epochs": 4,
    "valid_share": 0.1,
    "precision": "fp32",
}

WHOLE = {"unit_dropout": 0.0}


def train(index, path, curve=None, **changes):
    settings = UnitLmSettings(codebook="k", corpora=["c"], **SMALL | changes)
    return pretrain_unit_lm(settings, [index], TrainingFiles(path, curve), **ONE_THREAD)


def test_it_learns_and_describes_itself(tmp_path):
    index = write_split(tmp_path)
    path, curve = tmp_path / "lm.safetensors", tmp_path / "curve.parquet"
    train(index, path, curve)
    rows = pq.read_table(curve).to_pylist()
    assert list(rows[0]) == ["epoch", "split", "loss", "lr"]
    assert rows[-1]["loss"] < 0.8 * rows[1]["loss"]
    loaded = load_lm(path, "k" * 64)
    assert loaded.metadata["training"]["held_out_loss"] == min(
        row["loss"] for row in rows if row["split"] == "valid"
    )
    assert [shard["sha256"] for shard in loaded.metadata["shards"]] == [
        sha256_file(index.parent / part["name"]) for part in read_json(index)["parts"]
    ]
    assert {shard["split"] for shard in loaded.metadata["shards"]} == {"train"}


def test_it_sees_only_units_of_train_splits(tmp_path, monkeypatch):
    index = write_split(tmp_path)
    write_split(tmp_path, split="valid", seed=1)
    _, sentences, _ = read_sentences([index])
    expected = {(2, *(row + 4), 2) for row in sentences}
    seen = set()
    original = pretrain._loss

    def spy(model, sequences, dtype, cache=None):
        seen.update(tuple(sequence.tolist()) for sequence in sequences)
        return original(model, sequences, dtype, cache)

    monkeypatch.setattr(pretrain, "_loss", spy)
    train(index, tmp_path / "lm.safetensors", max_epochs=1, pretraining_tasks=WHOLE)
    assert seen == {tuple(int(i) for i in row) for row in expected}
    assert all(0 not in row for row in seen)  # the separator


def test_held_out_utterances_are_never_trained_on(tmp_path, monkeypatch):
    index = write_split(tmp_path)
    trained, held_out, clustered = set(), set(), set()
    original, cluster = pretrain._loss, pretraining_tasks.cluster_utterances

    def spy(model, sequences, dtype, cache=None):
        group = trained if torch.is_grad_enabled() else held_out
        group.update(tuple(sequence.tolist()) for sequence in sequences)
        return original(model, sequences, dtype, cache)

    def spy_on_clusters(units, *arguments):
        clustered.update(tuple(row.tolist()) for row in units)
        return cluster(units, *arguments)

    monkeypatch.setattr(pretrain, "_loss", spy)
    monkeypatch.setattr(pretraining_tasks, "cluster_utterances", spy_on_clusters)
    # Distinct sequences, so that the two sets can be compared.
    names = [f"c/{i}" for i in range(100)]
    rows = [np.array([i // 10, i % 10]) for i in range(100)]
    about = read_sentences([index])[2]
    monkeypatch.setattr(pretrain, "read_sentences", lambda _: (names, rows, about))
    train(index, tmp_path / "lm.safetensors", max_epochs=2, pretraining_tasks=WHOLE)
    assert trained
    assert held_out
    assert not trained & held_out
    # The made-up tasks are made from the units alone that the model learns from.
    assert {(2, *(unit + 4 for unit in row), 2) for row in clustered} == trained


def test_repeated_utterances_lose_units_and_nothing_else(tmp_path, monkeypatch):
    index = write_split(tmp_path)
    once = {tuple(int(i) for i in (2, *(row + 4), 2)) for row in read_sentences([index])[1]}
    twice_in_a_row = {"repeat_share": 0.5, "repeat_kept": 0.4, "pretraining_tasks": WHOLE}
    seen = []
    original = pretrain._loss

    def spy(model, sequences, dtype, cache=None):
        if torch.is_grad_enabled():
            seen.extend(tuple(sequence.tolist()) for sequence in sequences)
        return original(model, sequences, dtype, cache)

    monkeypatch.setattr(pretrain, "_loss", spy)
    train(index, tmp_path / "lm.safetensors", **twice_in_a_row)
    twice = [sequence for sequence in seen if sequence.count(2) == 3]
    assert len(seen) * 0.4 < len(twice) < len(seen) * 0.6
    assert {sequence for sequence in seen if sequence.count(2) == 2} <= once
    kept = []
    for sequence in twice:
        middle = sequence.index(2, 1)
        first, second = sequence[: middle + 1], sequence[middle:]
        assert first in once
        rest = iter(first)
        assert all(unit in rest for unit in second[1:-1])  # the same order
        kept.append((len(second) - 2) / (len(first) - 2))
    assert 0.6 < np.mean(kept) < 0.8
    assert len(set(twice)) > len({sequence[: sequence.index(2, 1)] for sequence in twice})


def test_other_splits_and_mixed_codebooks_are_refused(tmp_path):
    train = write_split(tmp_path)
    with pytest.raises(ArtefactError, match="train splits, found 'test'"):
        read_sentences([write_split(tmp_path, split="test")])
    with pytest.raises(ArtefactError, match="share one codebook"):
        read_sentences([train, write_split(tmp_path, corpus="d", codebook="j")])


def test_utterances_beyond_the_positions_are_named(tmp_path):
    index = write_split(tmp_path)
    with pytest.raises(CorpusError, match=r"c/train-\d-\d+ needs \d+ positions, but .* has 8"):
        train(index, tmp_path / "lm.safetensors", max_positions=8)
    # The slots of made-up tasks stand behind the longest utterance.
    longest = 1 + max(len(row) for row in read_sentences([index])[1])
    train(index, tmp_path / "lm.safetensors", max_positions=longest + 4, max_epochs=1)
    with pytest.raises(CorpusError, match=rf"needs {longest + 4} positions, but .* has"):
        train(index, tmp_path / "lm.safetensors", max_positions=longest + 3)


def test_it_goes_on_from_another_unit_lm(tmp_path):
    index = write_split(tmp_path)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train(index, first, max_epochs=2)
    hardly = {"lr": 1e-9, "max_epochs": 1}

    def go_on(start=first, **changes):
        settings = UnitLmSettings(codebook="k", corpora=["c"], **SMALL | hardly | changes)
        pretrain_unit_lm(settings, [index], TrainingFiles(second), start=start, **ONE_THREAD)

    go_on()
    before, after = (read_tensors(path)[0] for path in (first, second))
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, rtol=1e-5, atol=1e-6)
    losses = [load_lm(path).metadata["training"]["held_out_loss"] for path in (first, second)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)

    with pytest.raises(ArtefactError, match=r"first.safetensors: expected the shape .* 'dim': 32"):
        go_on(dim=32)
    other = write_split(tmp_path, corpus="d", codebook="j")
    train(other, tmp_path / "other.safetensors", max_epochs=1)
    with pytest.raises(ArtefactError, match=r"other.safetensors: trained on units of codebook"):
        go_on(tmp_path / "other.safetensors")


def test_the_mean_with_the_start_is_written(tmp_path):
    index = write_split(tmp_path)
    first = tmp_path / "first.safetensors"
    train(index, first, max_epochs=1)

    def go_on(share):
        path = tmp_path / f"{share}.safetensors"
        changes = SMALL | {"max_epochs": 2, "start": "first", "start_share": share}
        settings = UnitLmSettings(codebook="k", corpora=["c"], **changes)
        pretrain_unit_lm(settings, [index], TrainingFiles(path), start=first, **ONE_THREAD)
        return load_lm(path)

    last, mean = go_on(0.0), go_on(0.25)
    before = load_lm(first).model.state_dict()
    for name, weight in mean.model.state_dict().items():
        expected = 0.25 * before[name] + 0.75 * last.model.state_dict()[name]
        torch.testing.assert_close(weight, expected)
    assert "averaged_held_out_loss" not in last.metadata["training"]
    told = mean.metadata["training"]
    assert told["held_out_loss"] == last.metadata["training"]["held_out_loss"]
    assert told["averaged_held_out_loss"] != told["held_out_loss"]
    with pytest.raises(ValidationError, match="start_share: needs a `start`"):
        UnitLmSettings(codebook="k", corpora=["c"], start_share=0.5)


@pytest.mark.parametrize(
    "tasks", [{"tasks": 5, "classes": [5, 8]}, {"tasks": 4, "sequences": 2}, None]
)
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, tasks):
    index = write_split(tmp_path)
    changes = {"dropout": 0.2, "repeat_share": 0.5, "pretraining_tasks": tasks}
    whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
    curves = tmp_path / "whole.parquet", tmp_path / "resumed.parquet"
    train(index, whole, curves[0], **changes)
    checkpoint = tmp_path / "state.safetensors"
    settings = UnitLmSettings(codebook="k", corpora=["c"], **SMALL | changes)
    arguments = [settings, [index], TrainingFiles(resumed, curves[1], checkpoint, 0)]
    killed_in_the_middle(pretrain_unit_lm, arguments, ONE_THREAD, checkpoint, writes=13)
    assert not resumed.exists()
    pretrain_unit_lm(*arguments, **ONE_THREAD)
    assert resumed.read_bytes() == whole.read_bytes()
    assert curves[0].read_bytes() == curves[1].read_bytes()
    assert not checkpoint.exists()


def test_the_same_seed_gives_the_same_bytes_and_the_file_holds_the_lm_alone(tmp_path):
    index = write_split(tmp_path)
    paths = [tmp_path / f"{name}.safetensors" for name in ("first", "second", "without")]
    for path, tasks in zip(paths, ({}, {}, None), strict=True):
        train(index, path, max_epochs=2, pretraining_tasks=tasks)
    first, second, without = paths
    assert first.read_bytes() == second.read_bytes() != without.read_bytes()
    tensors = [read_tensors(path)[0] for path in (first, without)]
    assert {name: t.shape for name, t in tensors[0].items()} == {
        name: t.shape for name, t in tensors[1].items()
    }
    assert read_tensor_metadata(first).keys() == read_tensor_metadata(without).keys()


def test_few_utterances_are_learnt_without_made_up_tasks(tmp_path, capsys):
    index = write_split(tmp_path, n=60)
    paths = [tmp_path / f"{name}.safetensors" for name in ("by default", "without")]
    train(index, paths[0], max_epochs=2)
    assert "no corpus has 64 utterances to learn from" in capsys.readouterr().err
    train(index, paths[1], max_epochs=2, pretraining_tasks=None)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_corpus_of_few_utterances_is_learnt_beside_one_with_tasks(tmp_path, capsys):
    indexes = [write_split(tmp_path), write_split(tmp_path, corpus="d", n=20)]
    settings = UnitLmSettings(codebook="k", corpora=["c", "d"], **SMALL | {"max_epochs": 1})
    result = pretrain_unit_lm(settings, indexes, TrainingFiles(tmp_path / "lm"), **ONE_THREAD)
    told = capsys.readouterr().err
    assert "12 made-up tasks for each of 1 corpora" in told
    assert result.updates >= 2
