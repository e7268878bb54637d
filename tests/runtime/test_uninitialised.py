"""Models for their shapes, and how soon a model is there."""

import subprocess
import sys

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from speechprompt.lm import load_lm
from speechprompt.models.shipped import shipped_model
from speechprompt.runtime.uninitialised import without_initial_values, without_weights

LOADING = """
import sys
from speechprompt.config.tasks import PromptSettings
from speechprompt.encoders import load_encoder
from speechprompt.lm import load_lm
from speechprompt.models.shipped import shipped_model
from speechprompt.prompting.prompt import Prompt
from speechprompt.runtime.uninitialised import without_weights
load_encoder("hubert", weights=shipped_model("hubert-nano.safetensors"), layer=4)
lm = load_lm(shipped_model("unit-lm-nano.safetensors"))
with without_weights():
    for mode in ("query", "both"):
        Prompt(lm.model.config, PromptSettings(mode=mode), n_written=3)
assert "torch._dynamo" not in sys.modules
"""


def build():
    return nn.Sequential(nn.Embedding(5, 4), weight_norm(nn.Conv1d(4, 6, 3), dim=2), nn.GRU(6, 2))


def test_shapes_are_those_of_the_real_model():
    with without_weights():
        model = build()
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    expected = {name: tensor.shape for name, tensor in build().state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == expected


def test_nothing_is_drawn():
    before = torch.get_rng_state()
    with without_initial_values():
        nn.init.normal_(torch.empty(3))
        nn.init.uniform_(tensor=torch.empty(3))
        nn.init.xavier_uniform_(torch.empty(3, 3))
        build()
    load_lm(shipped_model("unit-lm-nano.safetensors"))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(nn.init.ones_(torch.empty(3)), torch.ones(3))


def test_loading_the_shipped_models_takes_no_compiler():
    subprocess.run([sys.executable, "-c", LOADING], check=True)
