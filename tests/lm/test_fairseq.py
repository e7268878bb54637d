"""Parity with fairseq's own TransformerLanguageModel on the same random weights."""

from argparse import Namespace

import pytest
import torch

from fairseq_readers import fairseq_installed
from random_models import random_lm
from speechprompt.errors import ArtefactError
from speechprompt.lm import LMConfig, UnitLM
from speechprompt.lm.cache import Cache
from speechprompt.lm.fairseq import config_from_weights, load_weights, to_fairseq, weights
from speechprompt.lm.packing import pack
from speechprompt.models.importing.fairseq_library import import_fairseq


@pytest.fixture(scope="module")
def build():
    if not fairseq_installed():
        pytest.skip("needs fairseq")
    lm = import_fairseq("fairseq.models.transformer_lm")
    data = import_fairseq("fairseq.data")

    def build(config: LMConfig):
        dictionary = data.Dictionary()
        for unit in range(config.n_symbols - 4):
            dictionary.add_symbol(str(unit))
        options = lm.TransformerLanguageModelConfig(
            decoder_layers=config.layers,
            decoder_attention_heads=config.heads,
            decoder_embed_dim=config.dim,
            decoder_input_dim=config.dim,
            decoder_output_dim=config.dim,
            decoder_ffn_embed_dim=config.ffn,
            share_decoder_input_output_embed=True,
            decoder_normalize_before=True,
            max_target_positions=config.max_positions,
            tokens_per_sample=config.max_positions,
            activation_fn="relu",
            dropout=0.0,
            attention_dropout=0.0,
        )
        namespace = Namespace(source_dictionary=dictionary, target_dictionary=dictionary)
        torch.manual_seed(1)
        return lm.TransformerLanguageModel.build_model(options, namespace).eval()

    return build


def padded(sequences):
    batch = torch.full((len(sequences), max(map(len, sequences))), 1)
    for row, sequence in zip(batch, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    return batch


def sequences_of(n, n_symbols, longest, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = [longest, 1, *torch.randint(2, longest, (n - 2,), generator=generator).tolist()]
    rows = [torch.randint(4, n_symbols, (k,), generator=generator).tolist() for k in lengths]
    return [[2, *row] for row in rows] + [[2, *rows[0][: longest // 2], 0, 5]]


@torch.no_grad()
def packed_logits(model, sequences):
    batch = pack([torch.tensor(sequence).numpy() for sequence in sequences])
    return model.logits(model(batch))[batch.wanted_query]


def assert_close(ours, theirs, tolerance=1e-5):
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("shape", [(2, 4, 64, 128), (1, 2, 16, 24), (3, 1, 12, 40)])
def test_logits_of_a_padded_batch_equal_fairseqs(build, shape):
    config = LMConfig(24, *shape, max_positions=64)
    reference = build(config)
    model = UnitLM(config)
    load_weights(model, reference.state_dict(), "test")
    sequences = sequences_of(7, 24, 20)
    with torch.no_grad():
        expected = reference(padded(sequences))[0]
    found = packed_logits(model.freeze(), sequences)
    for i, sequence in enumerate(sequences):
        assert_close(found[i, : len(sequence)], expected[i, : len(sequence)])


def test_token_by_token_through_the_cache_equals_fairseqs(build):
    config = LMConfig(24, 2, 4, 32, 64, max_positions=64)
    reference = build(config)
    model = UnitLM(config).freeze()
    load_weights(model, reference.state_dict(), "test")
    tokens = torch.randint(4, 24, (3, 9), generator=torch.Generator().manual_seed(3))
    tokens[:, 0] = 2
    cache = Cache(room=8)
    state = {}
    with torch.no_grad():
        start = pack([row[:1].numpy() for row in tokens])
        logits = model.logits(model(start, cache=cache))[start.wanted_query[:, 0]]
        for t in range(tokens.shape[1]):
            expected = reference.decoder(tokens[:, : t + 1], incremental_state=state)[0][:, -1]
            assert_close(logits, expected)
            if t + 1 < tokens.shape[1]:
                logits = model.logits(model.step(tokens[:, t + 1], cache))


def test_round_trip_of_the_state_dict_changes_no_byte(build):
    config = LMConfig(24, 2, 4, 32, 64, max_positions=64)
    original = build(config).state_dict()
    model = UnitLM(config)
    load_weights(model, original, "test")
    back = to_fairseq(model)
    assert back.keys() == original.keys()
    for name, tensor in original.items():
        if not name.endswith("_float_tensor"):  # fairseq leaves it uninitialised
            assert tensor.numpy().tobytes() == back[name].numpy().tobytes(), name
    build(config).load_state_dict(back, strict=True)


def test_shape_is_read_from_weights(build):
    config = LMConfig(24, 2, 4, 32, 64, max_positions=77)
    assert config_from_weights(build(config).state_dict(), 4, 77, "test") == config


def test_missing_and_surplus_weights_are_named():
    model = random_lm()
    tensors = {name: tensor.clone() for name, tensor in weights(model).items()}
    del tensors["layers.1.fc2.bias"]
    tensors["layers.9.fc2.bias"] = torch.zeros(32)
    with pytest.raises(
        ArtefactError, match=r"missing: layers\.1\.fc2.*surplus: layers\.9\.fc2\.bias"
    ):
        load_weights(random_lm(seed=1), tensors, "file")


def test_untied_output_and_wrong_shape_are_refused():
    tensors = {name: tensor.clone() for name, tensor in weights(random_lm()).items()}
    with pytest.raises(ArtefactError, match="tied"):
        load_weights(
            random_lm(), {**tensors, "decoder.output_projection.weight": torch.ones(24, 32)}, "f"
        )
    with pytest.raises(ArtefactError, match=r"fc1\.bias \(47,\) instead of \(48,\)"):
        load_weights(random_lm(), {**tensors, "layers.0.fc1.bias": torch.zeros(47)}, "file")


@pytest.mark.slow
def test_full_size_equals_fairseqs(build):
    config = LMConfig()
    reference = build(config)
    model = UnitLM(config)
    assert sum(p.numel() for p in model.parameters()) == 151_263_232
    load_weights(model, reference.state_dict(), "test")
    sequences = sequences_of(4, 104, 30)
    with torch.no_grad():
        expected = reference(padded(sequences))[0]
    found = packed_logits(model.freeze(), sequences)
    for i, sequence in enumerate(sequences):
        assert_close(found[i, : len(sequence)], expected[i, : len(sequence)])
