"""The benchmarks measure what they say: counts, data, and peers that compute the same."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_hubert import SMALL_HUBERT

from fairseq_readers import fairseq_installed
from random_models import random_lm
from speechprompt.config.tasks import DecodingSettings, PromptSettings
from speechprompt.errors import CorpusError
from speechprompt.lm import Dictionary, LMConfig
from speechprompt.lm.artefact import LoadedLM
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.tasks.examples import Examples
from speechprompt.tasks.verbalizer import Verbalizer

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.audio import make_recordings
from benchmarks.data import make_workload
from benchmarks.encoders import OurEncoder, PublishedReader, write_hubert
from benchmarks.encoding import unit_agreement
from benchmarks.operations import (
    Tree,
    decoding_operations,
    encoding_operations,
    forward_operations,
    pretraining_operations,
    training_operations,
)

SEQUENCES = [[2, 5, 0, 4], [2, 5, 6, 0, 4]]
WANTED_FROM = [2, 3]
CONFIG = LMConfig(n_symbols=7, layers=2, heads=1, dim=2, ffn=4)


def test_distinct_prefixes_are_counted_by_hand():
    tree = Tree.of(SEQUENCES, WANTED_FROM)
    # Rows 2, 25, 250, 2504 and 256, 2560, 25604; a row attends to as many as it has tokens.
    assert tree == Tree(
        rows=7,
        pairs=1 + 2 + 3 + 4 + 3 + 4 + 5,
        wanted=4,
        wanted_pairs=3 + 4 + 4 + 5,
        separators=2,
        to_separators=4,
        from_separators=3 + 4,
    )


def test_operations_are_those_counted_by_hand():
    tree = Tree.of(SEQUENCES, WANTED_FROM)
    square, wide, pair, prompt = 2 * 2 * 2, 2 * 2 * 4, 2 * 2, 3
    first = 7 * (4 * square + 2 * wide) + 2 * pair * (22 + 7 * prompt)
    last = 7 * 2 * square + 4 * (2 * square + 2 * wide) + 2 * pair * (16 + 4 * prompt)
    rows = 2 * prompt * 2 * square
    logits = 4 * 2 * 2 * 7
    forward = first + last + rows + logits
    assert forward == 1528
    assert forward_operations(CONFIG, prompt, tree) == forward
    # All gradients, of weights and of activations, take each product twice more.
    alone = forward - rows - 2 * pair * prompt * (7 + 4)
    assert pretraining_operations(CONFIG, tree) == 3 * alone

    # Back through the last layer: attention twice. Through the first: 25 pairs with trained keys
    # and values, 13 pairs of separators' queries, 8 of them the same.
    last += 2 * pair * (16 + 4 * prompt)
    first = 7 * (square + 2 * wide) + 2 * 3 * square + pair * ((25 + 13 - 8) + 25 + 25 + 13)
    assert training_operations(CONFIG, prompt, tree) == forward + first + last + rows + logits

    # One more token behind 3 and 4 others: contexts of 7 and 8 with the prompt.
    step = 2 * (2 * (4 * square + 2 * wide) + 2 * pair * (7 + 8)) + 2 * 2 * 2 * 7
    assert decoding_operations(CONFIG, prompt, [3, 4], steps=1) == step


@pytest.mark.parametrize("lengths", ["ks", "asr"])
def test_the_generator_is_deterministic_and_without_repeats(lengths):
    first, again = (make_workload(lengths, 8).examples for _ in range(2))
    assert first.labels == again.labels
    for row, same in zip(first.units, again.units, strict=True):
        np.testing.assert_array_equal(row, same)
        assert all(a != b for a, b in pairwise(row))
    other = make_workload(lengths, 8, seed=2).examples
    pairs = zip(first.units, other.units, strict=True)
    assert not any(np.array_equal(row, different) for row, different in pairs)


def test_synthetic_keywords_share_prefixes_as_the_papers_do():
    examples = make_workload("ks", 512).examples
    sources = [np.concatenate(([2], units + 4)) for units in examples.units[:128]]
    share = Tree.of(sources, [0] * 128).rows / sum(map(len, sources))
    assert 0.8 < share < 0.9
    assert np.mean([len(units) for units in examples.units]) == pytest.approx(24, abs=1)


def test_a_file_of_lines_is_read_and_checked(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("3 4 3 <s> yes\n3 4 3 <s> yes\n7 8 <s> no\n9 1 <s> yes\n")
    examples = make_workload("ks", 3, str(path)).examples
    pairs = zip(examples.units, examples.labels, strict=True)
    found = {tuple(units): tuple(labels) for units, labels in pairs}
    assert found == {(3, 4, 3): (0,), (7, 8): (1,), (9, 1): (0,)}
    joined = make_workload("asr", 2, str(path)).examples.units
    assert all(len(row) >= 150 and (np.diff(row) != 0).all() for row in joined)
    with pytest.raises(CorpusError, match="expected 4 distinct lines, found 3"):
        make_workload("ks", 4, str(path))
    path.write_text("3 400 <s> yes\n")
    with pytest.raises(CorpusError, match="expected lines"):
        make_workload("ks", 1, str(path))


@pytest.fixture(scope="module")
def pair():
    """The published way and this package on the same weights and the same prompt."""
    if not fairseq_installed():
        pytest.skip("needs fairseq")
    from benchmarks.published import Published, build_decoder

    model = random_lm().freeze()
    lm = LoadedLM(model, Dictionary(range(20)), "", "", {})
    prompt = Prompt(model.config, PromptSettings(length=3, mode="both", dropout=0.0))
    verbalizer = Verbalizer("frequency", range(20), 20)
    published = Published(build_decoder(model), lm.dictionary, prompt)
    return published, TaskModel(lm, prompt, verbalizer, [range(20)] * 4)


def batch_of(n=5):
    rng = np.random.default_rng(0)
    units = [rng.integers(0, 20, rng.integers(1, 9)) for _ in range(n)]
    labels = [rng.integers(0, 20, rng.integers(1, 4)).tolist() for _ in range(n)]
    return Examples([str(i) for i in range(n)], units, labels)


def test_the_published_way_has_our_loss_and_gradients(pair):
    published, task = pair
    batch = batch_of()
    ours = task.loss(batch.units, batch.labels, task.prompt_tensors())
    theirs, n_tokens = published.loss(batch, dropout=0.0)
    assert n_tokens == ours.n_tokens == sum(len(row) + 1 for row in batch.labels)
    torch.testing.assert_close(ours.total, theirs, rtol=1e-5, atol=1e-5)
    trained = (task.prompt.separator, task.prompt.keys, task.prompt.values)
    gradients = (torch.autograd.grad(loss, trained) for loss in (ours.total, theirs))
    for mine, other in zip(*gradients, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_counted_rows_are_those_that_are_computed(pair):
    _, task = pair
    units = batch_of().units
    units.append(units[0][:2])
    sources = [task.dictionary.source(row) for row in units]
    tree = Tree.of(sources, [len(source) - 1 for source in sources])
    packed = task.pack(units)
    assert (tree.rows, tree.wanted) == (len(packed.tokens), len(packed.wanted))
    assert tree.rows < sum(map(len, sources))


def test_the_published_generation_gives_our_greedy_answers(pair):
    published, task = pair
    batch = batch_of()
    ours = predict(task, batch.units, DecodingSettings(free=True)).labels
    theirs = published.generate(batch, answer=4)
    for answer, ids in zip(ours, theirs, strict=True):
        labels = [id_ - 4 if id_ >= 4 else -1 for id_ in ids[: ids.index(2) if 2 in ids else 4]]
        assert answer == labels


def test_a_share_of_the_passes_is_reported_as_such(pair):
    published, _ = pair
    batch = batch_of()
    passes = max(map(len, batch.units)) + 2 + 4
    assert published.infer(batch, answer=4) == 1
    published.passes = 3
    assert published.infer(batch, answer=4) == pytest.approx(3 / passes)


def test_operations_of_an_encoder_are_those_counted_by_hand():
    # 105 samples: 20 windows of 10, of which 9 windows of 3.
    convolutions = 20 * 2 * 10 * 8 + 9 * 2 * 3 * 8 * 8
    into = 9 * 2 * 8 * 16 + 9 * 8 * 16 * 4
    layer = 9 * 2 * (4 * 16 * 16 + 2 * 16 * 24) + 2 * 2 * 16 * 9 * 9
    for layers in (1, 2):
        expected = convolutions + into + layers * layer
        assert encoding_operations(SMALL_HUBERT, layers, 105) == expected


def test_the_published_reader_has_our_frames(tmp_path):
    if not fairseq_installed():
        pytest.skip("needs fairseq")
    path = tmp_path / "model.safetensors"
    write_hubert(path, SMALL_HUBERT)
    recordings = make_recordings("ks", 2)
    ours = OurEncoder(path, "fp32", layer=2).encode(recordings)
    theirs = PublishedReader(path, layer=2).encode(recordings)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.std(dim=0).min() > 0
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_recordings_have_the_lengths_of_their_tasks():
    keywords, sentences = make_recordings("ks", 3), make_recordings("asr", 3)
    assert [len(recording) for recording in keywords] == [16_000] * 3
    assert all(3 * 16_000 <= len(recording) <= 17 * 16_000 for recording in sentences)
    for recording in (*keywords, *sentences):
        assert recording.dtype == torch.float32
        assert recording.std() > 0
    assert torch.equal(make_recordings("asr", 2)[0], make_recordings("asr", 2)[0])


def test_recordings_of_the_users_own(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(2):
        samples = rng.uniform(-0.5, 0.5, 24_000 + number)
        soundfile.write(tmp_path / f"{number}.flac", samples, 16_000)
    first, second = make_recordings("ks", 2, str(tmp_path))
    assert len(first) == len(second) == 16_000
    assert not torch.equal(first, second)
    assert len(make_recordings("asr", 1, str(tmp_path))[0]) > 3 * 16_000
    with pytest.raises(CorpusError, match="expected WAV or FLAC files, found none"):
        make_recordings("ks", 1, str(tmp_path / "absent"))


def test_units_agree_where_frames_move_less_than_to_another_centroid():
    centres = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)) * 10
    frames = centres.repeat(50, 1)
    moved = frames + 0.1
    assert unit_agreement(frames, moved, n_units=4) == 1
    moved[:20] = frames[1:21]
    assert unit_agreement(frames, moved, n_units=4) == 0.9
