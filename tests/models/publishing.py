"""Models with random weights, published as fairseq publishes them."""

from __future__ import annotations

import dataclasses
import os
import pickle
from argparse import Namespace
from contextlib import ExitStack, contextmanager
from unittest import mock

import pytest
import torch

from fairseq_readers import fairseq_installed
from speechprompt.models.importing.fairseq_library import import_fairseq

CONVOLUTIONS = "[({0},10,5)] + [({0},3,2)] * 4 + [({0},2,2)] * 2"
SMALL = {
    "encoder_layers": 3,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 96,
    "encoder_attention_heads": 4,
    "conv_feature_layers": CONVOLUTIONS.format(32),
    "final_dim": 16,
}
# The published sizes: hubert_base_ls960 and hubert_large_ll60k.
BASE = {"final_dim": 256, "dropout_input": 0.1, "encoder_layerdrop": 0.05}
LARGE = {
    "extractor_mode": "layer_norm",
    "layer_norm_first": True,
    "encoder_layers": 24,
    "encoder_embed_dim": 1024,
    "encoder_ffn_embed_dim": 4096,
    "encoder_attention_heads": 16,
    "final_dim": 768,
}
SMALL_LM = {"layers": 3, "heads": 4, "dim": 32, "ffn": 64, "longest": 128}
# GSLM's: transformer_lm_big, 3072 units a sample.
GSLM_LM = {"layers": 12, "heads": 16, "dim": 1024, "ffn": 4096, "longest": 3072}


def needs_fairseq():
    if not fairseq_installed():
        pytest.skip("needs fairseq")


def make_dictionary(n_symbols):
    dictionary = import_fairseq("fairseq.data").Dictionary()
    for unit in range(n_symbols):
        dictionary.add_symbol(str(unit))
    return dictionary


@contextmanager
def uninitialised():
    """Skip the random numbers that modules start with, which are most of a large model's time."""
    names = ("uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_")
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch(f"torch.nn.init.{name}"))
        wav2vec2 = import_fairseq("fairseq.models.wav2vec.wav2vec2")
        stack.enter_context(mock.patch.object(wav2vec2, "init_bert_params"))
        yield


@torch.no_grad()
def randomise(model):
    """Fill every weight, norms and biases too, so that no two can be exchanged unnoticed."""
    pool = torch.randn(2**20 + 7, generator=torch.Generator().manual_seed(0))
    start = 0
    for name, weight in model.named_parameters():
        flat = weight.view(-1)
        for part in flat.split(len(pool)):
            start = (start + 104_729) % len(pool)
            part.copy_(torch.cat((pool[start:], pool[:start]))[: len(part)])
        if weight.ndim > 1 and not name.endswith(("weight_g", "weight_v")):
            weight.mul_(weight[0].numel() ** -0.5)
        elif weight.ndim == 1:
            weight.mul_(0.2).add_(1.0 if name.endswith("weight") else 0.0)
    return model


def build_hubert(normalize=False, **settings):
    """fairseq's model, and its configuration as its trainer writes it into a checkpoint."""
    needs_fairseq()
    hubert = import_fairseq("fairseq.models.hubert.hubert")
    task = import_fairseq("fairseq.tasks.hubert_pretraining")
    model_config = hubert.HubertConfig(label_rate=50.0, **settings)
    task_config = task.HubertPretrainingConfig(sample_rate=16_000, normalize=normalize)
    with uninitialised():
        model = hubert.HubertModel(model_config, task_config, [make_dictionary(500)])
    config = {
        "_name": None,
        "common": {"seed": 1, "fp16": True},
        "task": {**vars_of(task_config), "_name": "hubert_pretraining", "labels": ["km"]},
        "model": {**vars_of(model_config), "_name": "hubert", "label_rate": "${task.label_rate}"},
    }
    return randomise(model).eval(), config


def vars_of(dataclass):
    names = [field.name for field in dataclasses.fields(dataclass)]
    return {name: getattr(dataclass, name) for name in names}


def build_lm(dictionary, *, layers, heads, dim, ffn, longest):
    """fairseq's model, and its settings as its trainer writes them into a checkpoint."""
    module = import_fairseq("fairseq.models.transformer_lm")
    config = module.TransformerLanguageModelConfig(
        decoder_layers=layers,
        decoder_attention_heads=heads,
        decoder_embed_dim=dim,
        decoder_input_dim=dim,
        decoder_output_dim=dim,
        decoder_ffn_embed_dim=ffn,
        share_decoder_input_output_embed=True,
        decoder_normalize_before=True,
        max_target_positions=longest,
        tokens_per_sample=longest,
        add_bos_token=False,
        tpu=False,
        dropout=0.1,
    )
    task = Namespace(source_dictionary=dictionary, target_dictionary=dictionary)
    model = randomise(module.TransformerLanguageModel.build_model(config, task)).eval()
    settings = {**vars_of(config), "activation_fn": str(config.activation_fn)}
    return model, settings


def layouts(settings, longest):
    """The same settings in each layout, ``cfg`` with references between its blocks."""
    task = {"_name": "language_modeling", "tokens_per_sample": longest, "data": "x"}
    references = {
        "tokens_per_sample": "${task.tokens_per_sample}",
        "max_target_positions": "${task.max_target_positions}",
    }
    model = {**settings, **references, "_name": "transformer_lm_big"}
    later = ("_name", "scale_fc", "base_layers")  # than the layout with args
    flat = {key: value for key, value in settings.items() if key not in later}
    return {
        "cfg": {"cfg": {"task": task, "model": model, "common": {}}},
        "args": {"args": Namespace(**flat, arch="transformer_lm_big", task="language_modeling")},
        # As fairseq converts models that have no configuration class.
        "mixed": {"cfg": {"task": task, "model": Namespace(**flat, arch="transformer_lm_big")}},
    }


def write_dictionary(path, units, n_filler=0):
    """dict.txt as fairseq-preprocess writes it, and fairseq's reading of it."""
    lines = [f"{unit} {1000 - i}" for i, unit in enumerate(units)]
    lines += [f"madeupword{i:04d} 0" for i in range(n_filler)]
    path.write_text("".join(line + "\n" for line in lines))
    return import_fairseq("fairseq.data").Dictionary.load(str(path))


def flat(config):
    """A configuration in the layout before fairseq 1.0: one flat namespace."""
    model = {key: value for key, value in config["model"].items() if key != "_name"}
    values = {**config["common"], **config["task"], **model, "arch": config["model"]["_name"]}
    del values["_name"]
    return Namespace(**values)


def publish(path, weights, *, cfg=None, args=None, legacy=False):
    """Write a checkpoint with all that fairseq's trainer puts into one."""
    state = {
        "args": args,
        "cfg": cfg,
        "model": weights,
        "criterion": None,
        "optimizer_history": [{"optimizer_name": "FairseqAdam", "num_updates": 400_000}],
        "task_state": {"dictionaries": [make_dictionary(5)]},
        "extra_state": {"metrics": {}, "val_loss": 2.5, "epoch": 3},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []},
    }
    if legacy:
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        import_fairseq("fairseq.checkpoint_utils").torch_persistent_save(state, str(path))
    return path


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def check_that_it_works(bomb):
    """A test that a bomb does not go off is worth nothing if it is a dud."""
    pickle.loads(pickle.dumps(bomb))
    assert bomb.path.exists()
    bomb.path.unlink()
