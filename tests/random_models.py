"""Small unit LMs and examples that the tests of the model, prompts, training and decoding share."""

import numpy as np
import torch
from torch import nn

from speechprompt.config.tasks import PromptSettings
from speechprompt.lm import Dictionary, LMConfig, LoadedLM, UnitLM, save_lm
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.tasks.examples import Examples
from speechprompt.tasks.verbalizer import Verbalizer

CODEBOOK = "c" * 64
TWO = [[0, 1, 2], [3, 4]]  # labels allowed in two columns


# Architectures of unit LMs beside GSLM's.
FORMS = {
    "opt": {"learned_positions": True},
    "opt-350m": {"learned_positions": True, "form": "opt-350m", "tied": False},
    "qwen2": {"form": "qwen2", "heads": 4, "kv_heads": 2, "rotary_base": 100.0, "tied": False},
}


def random_lm(layers=3, heads=2, dim=32, ffn=48, n_units=20, seed=0, scale=1.0, **more):
    """A UnitLM whose every number is random, biases and norms included."""
    torch.manual_seed(seed)
    model = UnitLM(LMConfig(n_units + 4, layers, heads, dim, ffn, max_positions=128, **more))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * scale
            if "norm.weight" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_(noise * parameter.shape[1] ** -0.5)
    return model


def write_lm(path, **shape):
    """Write a random unit LM; its dictionary is in reversed order on purpose."""
    model = random_lm(**shape)
    n_units = model.config.n_symbols - 4
    save_lm(path, model, Dictionary(range(n_units - 1, -1, -1)), CODEBOOK)
    return path


def random_units(n, n_units=20, shortest=1, longest=12, seed=0):
    """Unit sequences of mixed lengths, some of which begin alike, one twice."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, n_units, rng.integers(shortest, longest + 1)) for _ in range(n)]
    for i in range(1, n, 3):
        half = min(len(rows[i]), len(rows[i - 1])) // 2 + 1
        rows[i][:half] = rows[i - 1][:half]
    if n > 3:
        rows[-1] = rows[0].copy()
    return rows


def examples(n=12, columns=((0, 1, 2),), seed=0, **shape):
    """Utterances with random answers, one label of each column."""
    rng = np.random.default_rng(seed + 1)
    labels = [[int(rng.choice(column)) for column in columns] for _ in range(n)]
    return Examples([f"utt-{i}" for i in range(n)], random_units(n, seed=seed, **shape), labels)


def learnable_examples(n, n_labels=3, n_units=20, seed=0):
    """Utterances whose label their last unit tells."""
    rng = np.random.default_rng(seed)
    units = [rng.integers(0, n_units, rng.integers(3, 9)) for _ in range(n)]
    labels = [[int(row[-1]) % n_labels] for row in units]
    return Examples([f"utt-{i}" for i in range(n)], units, labels)


def prompt_form(mode, front=3):
    """Settings of a mode; ``front`` is query rows with so many rows in front beside them."""
    return {"mode": "query", "front": front} if mode == "front" else {"mode": mode}


def task_model(
    device, mode="deep", kind="frequency", allowed=TWO, dtype=torch.float32, members=1, form=None
):
    """A random LM with a prompt, or fine-tuned whole where ``mode`` is None."""
    model = random_lm(scale=1.5, **FORMS.get(form, {})).to(device).freeze(dtype)
    prompt = None
    writes = kind == "learnable" and mode in ("query", "front") and allowed is None
    if mode is not None:
        generator = torch.Generator().manual_seed(1)
        layers = [1] if mode in ("both", "infix") else None
        settings = PromptSettings(length=2, layers=layers, members=members, **prompt_form(mode))
        prompt = Prompt(model.config, settings, generator, 8 if writes else 0)
        if writes:
            nn.init.normal_(prompt.label_shifts, generator=generator)
    else:
        model.requires_grad_(True)
    lm = LoadedLM(model, Dictionary(range(19, -1, -1)), "lm", CODEBOOK, {})
    rows = 1 + (prompt.n_positions if prompt and not writes else 0)
    units = range(2, 2 + (8 if allowed is None else 5))
    verbalizer = Verbalizer(kind, units, 20, rows, writes, members)
    return TaskModel(lm, prompt, verbalizer, allowed, dtype=dtype)
