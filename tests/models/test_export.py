"""What other libraries open: transformers' unit LM and peft's adapter answer as this package."""

import json
import re

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from random_models import FORMS, TWO, random_units, write_lm
from speechprompt.config.tasks import DecodingSettings, PromptSettings
from speechprompt.errors import ArtefactError
from speechprompt.lm import load_lm
from speechprompt.lm.packing import pack
from speechprompt.models.exporting.unit_lm import export_unit_lm
from speechprompt.models.shipped import shipped_model
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.export import export_prompt
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.verbalizer import Verbalizer

LABELS = Classification(("action", "place"), (("on", "off", "up"), ("here", "there")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An exported random unit LM beside its file."""
    folder = tmp_path_factory.mktemp("exported")
    export_unit_lm(write_lm(folder / "lm.safetensors", scale=1.5), folder / "lm")
    return folder


def opened(path):
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(path).eval()


@pytest.mark.parametrize("shipped", [True, False])
def test_transformers_gives_the_same_scores_and_continuation(folder, tmp_path, shipped):
    path, out = folder / "lm.safetensors", folder / "lm"
    if shipped:
        path, out = shipped_model("unit-lm-nano.safetensors"), tmp_path / "lm"
        export_unit_lm(path, out)
    ours, theirs = load_lm(path), opened(out)
    assert theirs.config.unit_ids == ours.dictionary.ids(range(ours.dictionary.n_units)).tolist()
    sentences = [ours.dictionary.source(units) for units in random_units(6)]
    with torch.no_grad():
        packed = pack(sentences)
        scores = ours.model.logits(ours.model(packed)).index_select(0, packed.answers)
        found = [theirs(torch.tensor(row)[None]).logits[0] for row in sentences]
        torch.testing.assert_close(scores, torch.cat(found), atol=1e-4, rtol=1e-5)
        told = torch.tensor(sentences[0])[None]
        more = theirs.generate(told, max_new_tokens=20, do_sample=False)[0].tolist()
        row = sentences[0].tolist()
        while len(row) < len(more):
            packed = pack([np.array(row)])
            last = ours.model.logits(ours.model(packed)).index_select(0, packed.answers)[-1]
            row.append(int(last.argmax()))
    assert more == row


def trained(folder, mode="deep", kind="frequency", allowed=TWO, **form):
    """A prompt of random numbers in its file."""
    lm = load_lm(folder / "lm.safetensors")
    generator = torch.Generator().manual_seed(1)
    prompt = None
    if mode is not None:
        settings = PromptSettings(mode=mode, length=6, **form)
        prompt = Prompt(lm.model.config, settings, generator)
    with torch.no_grad():
        for parameter in [] if prompt is None else prompt.parameters():
            parameter.mul_(3.0)
    model = TaskModel(lm, prompt, Verbalizer(kind, [7, 3, 11, 2, 9], 20), allowed)
    about = {"task": "ic", "answers": LABELS.state(), "seed": 1, "training": {}}
    path = folder / f"{mode}-{kind}-{form}.safetensors"
    model.save(path, about)
    return path, model


def test_the_readmes_example_gives_our_labels(folder, tmp_path):
    path, model = trained(folder)
    adapter = tmp_path / "adapter"
    export_prompt(path, folder / "lm.safetensors", adapter)
    (example,) = re.findall(r"```python\n(.*?)```", (adapter / "README.md").read_text(), re.DOTALL)
    names = {"lm_folder": str(folder / "lm"), "adapter_folder": str(adapter)}
    exec(example, names)
    utterances = random_units(12)
    found = predict(model, utterances, DecodingSettings())
    with torch.no_grad():
        answers = [names["answer"](units.tolist()) for units in utterances]
    assert answers == [[LABELS.names[label] for label in row] for row in found.labels]
    assert len(set(map(tuple, answers))) > 1
    assert json.loads((adapter / "adapter_config.json").read_text())["num_virtual_tokens"] == 6


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mode": "query"}, "found prompt.mode query"),
        ({"mode": "input"}, "found prompt.mode input"),
        ({"layers": [0, 2]}, "found prompt.mode deep"),
        ({"mode": None}, "the whole unit LM"),
        ({"kind": "learnable"}, "found a learnable verbalizer"),
        ({"allowed": None}, "found one that writes text"),
    ],
)
def test_prompts_of_another_form_are_refused(folder, tmp_path, changes, expected):
    path, _ = trained(folder, **changes)
    with pytest.raises(ArtefactError, match=expected):
        export_prompt(path, folder / "lm.safetensors", tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_a_prompt_on_another_architecture_is_refused(tmp_path):
    lm = write_lm(tmp_path / "lm.safetensors", **FORMS["qwen2"])
    path, _ = trained(tmp_path)
    with pytest.raises(ArtefactError, match=r"lm\.safetensors: expected a unit LM of GSLM's form"):
        export_prompt(path, lm, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_nothing_is_overwritten(folder):
    before = (folder / "lm/config.json").read_bytes()
    with pytest.raises(ArtefactError, match="lm: exists already"):
        export_unit_lm(shipped_model("unit-lm-nano.safetensors"), folder / "lm")
    assert (folder / "lm/config.json").read_bytes() == before
