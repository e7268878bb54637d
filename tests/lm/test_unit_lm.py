"""The unit LM: packing, dictionary, files; each against a plain computation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from random_models import CODEBOOK, FORMS, random_lm, random_units, write_lm
from reference_prompt import literal_hidden
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.lm import Dictionary, LMConfig, load_lm
from speechprompt.lm.batching import micro_batches
from speechprompt.lm.cache import Cache
from speechprompt.lm.fairseq import weights
from speechprompt.lm.layer import _attend_in_blocks
from speechprompt.lm.packing import pack
from speechprompt.runtime.precision import resolve_precision
from speechprompt.storage.tensors import read_tensors, write_tensors


def test_gslm_has_the_published_number_of_parameters():
    c = LMConfig()
    layer = 4 * c.dim**2 + 4 * c.dim + 2 * c.dim * c.ffn + c.ffn + c.dim + 4 * c.dim
    assert c.layers * layer + c.n_symbols * c.dim + 2 * c.dim == 151_263_232


def test_dimension_must_divide():
    with pytest.raises(ConfigError, match="multiple of 2 x heads = 8, found 30"):
        LMConfig(dim=30, heads=4)


@torch.no_grad()
def test_a_packed_batch_equals_the_literal_computation():
    model = random_lm().freeze()
    named = {name: tensor.double() for name, tensor in weights(model).items()}
    sequences = [np.concatenate(([2], row + 4, [0])) for row in random_units(9)]
    batch = pack(sequences)
    hidden = model(batch)[batch.wanted_query]
    for i, sequence in enumerate(sequences):
        expected = literal_hidden(named, model.config, sequence.tolist())
        assert torch.allclose(hidden[i, : len(sequence)].double(), expected, atol=1e-5)


def test_shared_prefixes_are_one_row():
    sequences = [np.array(row) for row in ([2, 5, 6, 0], [2, 5, 7], [2, 5, 6, 0, 9], [3])]
    batch = pack(sequences)
    prefixes = {tuple(s[: i + 1]) for s in sequences for i in range(len(s))}
    assert len(batch.tokens) == len(prefixes)
    query = batch.spread.index.view(len(sequences), -1)
    for i, sequence in enumerate(sequences):
        assert batch.tokens[query[i, : len(sequence)]].tolist() == sequence.tolist()
        assert batch.positions[query[i, : len(sequence)]].tolist() == list(range(len(sequence)))


def test_wanted_rows_start_where_asked():
    sequences = [np.array([2, 5, 6, 0, 9]), np.array([2, 0, 9]), np.array([2, 5, 6, 0, 9])]
    batch = pack(sequences, [3, 1, 3])
    assert batch.lines.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.places.tolist() == [0, 1] * 3
    tokens = batch.tokens[batch.wanted]
    assert tokens[batch.wanted_query].tolist() == [[0, 9]] * 3
    assert len(batch.wanted) == 4  # the first and last utterance share theirs


@torch.no_grad()
def test_wanted_rows_have_the_hidden_states_of_the_full_computation():
    model = random_lm().freeze()
    sequences = [np.concatenate(([2], row + 4, [0])) for row in random_units(9)]
    whole, part = pack(sequences), pack(sequences, [len(s) - 1 for s in sequences])
    every, some = model(whole)[whole.wanted_query], model(part)[part.wanted_query]
    for i, sequence in enumerate(sequences):
        assert torch.allclose(every[i, len(sequence) - 1], some[i, 0], atol=1e-5)


@torch.no_grad()
def test_cache_goes_on_like_the_full_computation():
    model = random_lm().freeze()
    rows = [np.concatenate(([2], row + 4)) for row in random_units(6)]
    more = torch.randint(4, 24, (6, 3), generator=torch.Generator().manual_seed(0))
    start = pack(rows, [len(row) - 1 for row in rows])
    cache = Cache(room=3)
    model(start, cache=cache)
    order = torch.tensor([4, 0, 3])
    cache = cache.select(order)
    for t in range(3):
        hidden = model.step(more[order, t], cache)
        full = [np.concatenate((rows[i], more[i, : t + 1])) for i in order]
        batch = pack(full, [len(row) - 1 for row in full])
        assert torch.allclose(hidden, model(batch)[batch.wanted_query[:, 0]], atol=1e-5)


def test_micro_batches_keep_every_index_within_the_budget():
    lengths = [3, 9, 4, 4, 12, 1, 30]
    pieces = micro_batches(lengths, [6, 5, 4, 3, 2, 1, 0, 0], budget=24)
    assert sorted(i for piece in pieces for i in piece) == [0, 0, 1, 2, 3, 4, 5, 6]
    for piece in pieces:
        assert len(piece) == 1 or max(lengths[i] for i in piece) * len(piece) <= 24
    assert len(pieces) < 5


def test_dictionary_follows_the_order_of_its_lines(tmp_path):
    path = tmp_path / "dict.txt"
    path.write_text("2 10\n0 7\n1 1\n")
    dictionary = Dictionary.read(path)
    assert dictionary.source([0, 1, 2]).tolist() == [2, 5, 6, 4, 0]
    assert dictionary.sentence([2]).tolist() == [2, 4, 2]
    assert [dictionary.unit(i) for i in range(7)] == [-1, -1, -1, -1, 2, 0, 1]
    dictionary.write(path)
    assert Dictionary.read(path).units == [2, 0, 1]
    path.write_text(path.read_text() + "madeupword0000 0\n")
    assert Dictionary.read(path).units == [2, 0, 1]


@pytest.mark.parametrize("text", ["0 1\n0 1\n", "0 1\n2 1\n", "a 1\n"])
def test_a_dictionary_that_is_no_permutation_is_refused(tmp_path, text):
    path = tmp_path / "dict.txt"
    path.write_text(text)
    with pytest.raises(ArtefactError, match=r"dict|distinct"):
        Dictionary.read(path)


def test_units_outside_the_dictionary_are_refused():
    with pytest.raises(ArtefactError, match=r"unit 3 is outside.*0\.\.2"):
        Dictionary(range(3)).ids([0, 3])


def test_files_round_trip_and_are_reproducible(tmp_path):
    first = write_lm(tmp_path / "a.safetensors")
    second = write_lm(tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()
    loaded = load_lm(first, CODEBOOK)
    assert loaded.dictionary.units == list(range(19, -1, -1))
    assert not any(p.requires_grad for p in loaded.model.parameters())
    for (name, ours), theirs in zip(
        random_lm().named_parameters(), loaded.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    path = write_lm(tmp_path / "lm.safetensors")
    with pytest.raises(ArtefactError, match="trained on units of codebook ccc"):
        load_lm(path, "d" * 64)
    tensors, metadata = read_tensors(path)
    tensors.pop("layer_norm.bias")
    write_tensors(path, tensors, metadata)
    with pytest.raises(ArtefactError, match=r"lm\.safetensors.*missing: layer_norm\.bias"):
        load_lm(path)
    write_tensors(path, tensors, {})
    with pytest.raises(ArtefactError, match="not a unit LM of this package"):
        load_lm(path)


@pytest.mark.parametrize("form", [None, *FORMS])
@torch.no_grad()
def test_bf16_is_close_to_fp32(tmp_path, form):
    path = write_lm(tmp_path / "lm.safetensors", **FORMS.get(form, {}))
    sequences = [np.concatenate(([2], row + 4, [0])) for row in random_units(9)]
    batch = pack(sequences)
    exact = load_lm(path).model(batch)
    rough = load_lm(path, dtype=torch.bfloat16).model(pack(sequences, dtype=torch.bfloat16))
    assert rough.dtype == torch.float32
    assert 0 < (exact - rough).abs().max() < 0.2
    assert (exact - rough).abs().mean() < 0.02


@pytest.mark.parametrize(("lines", "offset"), [(1, 0), (1, 3), (2, 3)])
def test_attention_in_blocks_equals_the_fused_one(lines, offset):
    generator = torch.Generator().manual_seed(0)
    t, s = 11, 11 + offset
    q = torch.randn(2, 3, t, 8, generator=generator)
    k, v = torch.randn(2, 2, 3, s, 8, generator=generator)
    # One causal mask for all lines, or one per line where any key may be visible.
    later = torch.arange(s) > torch.arange(t)[:, None] + offset
    mask = torch.zeros(lines, 1, t, s).masked_fill_(later, float("-inf"))
    if lines > 1:
        mask[1] = 0.0
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    for block in (4, 128):
        assert torch.allclose(_attend_in_blocks(q, k, v, mask, block), expected, atol=1e-5)


def test_precision_names():
    assert resolve_precision("fp32") == torch.float32
    assert resolve_precision("bf16") == torch.bfloat16
    assert resolve_precision("auto") in (torch.float32, torch.bfloat16)
    with pytest.raises(ConfigError, match="precision: expected one of"):
        resolve_precision("fp8")


def test_prefixes_are_numbered_by_position_and_then_in_order():
    """The order of rows decides in which order numbers are added, and so the last bits."""
    sequences = [row + 4 for row in random_units(40, n_units=3, shortest=1, longest=6)]
    sequences += [np.concatenate(([-1, -2], row)) for row in sequences[:5]]
    prefixes = {tuple(row[: t + 1].tolist()) for row in sequences for t in range(len(row))}
    expected = {p: i for i, p in enumerate(sorted(prefixes, key=lambda p: (len(p), p)))}
    batch = pack(sequences, rows=True)
    assert len(batch.tokens) == len(prefixes)
    rows = batch.spread.index.view(len(sequences), -1)
    for row, numbers in zip(sequences, rows.tolist(), strict=True):
        for t in range(len(row)):
            assert numbers[t] == expected[tuple(row[: t + 1].tolist())]


def test_long_prefixes_are_shared_at_their_beginning():
    """Tokens behind the first few are not compared, and every line has its own rows of them."""
    long = np.arange(4, 24).repeat(10)
    batch = pack([long, long, np.append(long[:30], 5)])
    assert len(batch.tokens) < 2 * len(long)
    rows = batch.spread.index.view(3, -1)
    assert torch.equal(rows[0, :64], rows[1, :64])
    assert torch.equal(rows[0, :30], rows[2, :30])
    assert not set(rows[0, 64:].tolist()) & set(rows[1, 64:].tolist())
    for row in rows[:2]:
        assert batch.tokens[row].tolist() == long.tolist()
