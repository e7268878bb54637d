"""A prompt as an adapter that ``peft`` opens on an exported unit LM."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from speechprompt.errors import ArtefactError
from speechprompt.lm.dictionary import END
from speechprompt.prompting.task_file import load_task_model
from speechprompt.storage.files import new_folder, write_text
from speechprompt.storage.tensors import read_tensor_metadata
from speechprompt.tasks.labels import restore_labels

__all__ = ["export_prompt"]

README = """\
# {task}: a prompt for a unit language model

`peft` opens this folder as an adapter (prefix tuning) of the exported unit LM. It has the rows that
stand in front of the units in every layer: their keys and values after the projections.

What no adapter has is in `task.json` and `separator.safetensors`: the trained separator, which
stands for `<s>` behind the units, and the verbalizer, that is the unit of each label. Positions
count units only, so they are given to the model. This answers an utterance:

```python
import json
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

lm = AutoModelForCausalLM.from_pretrained(lm_folder)
adapter = PeftModel.from_pretrained(lm, adapter_folder)
task = json.load(open(f"{{adapter_folder}}/task.json"))
separator = load_file(f"{{adapter_folder}}/separator.safetensors")["separator"]

def answer(units):
    tokens = torch.tensor([[task["begin"], *[task["unit_ids"][unit] for unit in units]]])
    embed = lm.get_input_embeddings()
    inputs = torch.cat([embed(tokens), separator[None, None] * lm.config.d_model**0.5], dim=1)
    labels = []
    while len(labels) < len(task["allowed"]):
        position = torch.arange(inputs.shape[1])[None]
        prefix = adapter.get_prompt(batch_size=1)
        found = lm(inputs_embeds=inputs, position_ids=position, past_key_values=prefix)
        scores = found.logits[0, -1]
        allowed = task["allowed"][len(labels)]
        labels.append(max(allowed, key=lambda label: scores[task["label_ids"][label]].item()))
        token = torch.tensor([[task["label_ids"][labels[-1]]]])
        inputs = torch.cat([inputs, embed(token)], dim=1)
    return [task["labels"][label] for label in labels]
```
"""


def export_prompt(prompt: str | Path, unit_lm: str | Path, out: str | Path) -> None:
    """Write a classification's prompt as a folder for ``peft.PeftModel.from_pretrained``.

    The adapter belongs on what :func:`~speechprompt.models.exporting.unit_lm.export_unit_lm` makes
    of the same unit LM. The folder's README.md says what no adapter has, with an example that gives
    this package's labels.

    Args:
        prompt: prompt.safetensors with rows in front in every layer (``prompt.mode: deep``).
        unit_lm: the unit LM that it was trained on.
        out: folder to write.

    Raises:
        ArtefactError: a file is damaged or the other is not its own; the unit LM or the prompt has
            another form, the prompt has a learnable verbalizer or writes text; or there is
            something in ``out``.
    """
    model = load_task_model(prompt, unit_lm)
    form, lm = model.prompt, model.lm.model
    if not lm.config.is_gslms:
        raise ArtefactError(
            f"{unit_lm}: expected a unit LM of GSLM's form, on whose export the adapter belongs, "
            "found one that was imported from transformers"
        )
    kind = "the whole unit LM (finetune)" if form is None else f"prompt.mode {form.mode}"
    if form is None or form.mode != "deep" or len(form.layers) != lm.config.layers:
        raise ArtefactError(
            f"{prompt}: an adapter has rows in front in every layer (prompt.mode deep, "
            f"prompt.layers null), found {kind}"
        )
    if model.allowed is None or model.verbalizer.kind == "learnable":
        raise ArtefactError(
            f"{prompt}: expected a classification whose labels are units, found "
            + ("a learnable verbalizer" if model.allowed is not None else "one that writes text")
        )
    metadata = read_tensor_metadata(prompt)
    labels = restore_labels(metadata["answers"])
    with torch.no_grad():
        projected = lm.project_prompt(form.tensors(), torch.float32)
    rows = torch.cat([projected[i] for i in range(lm.config.layers)], dim=1)  # (L, layers * 2 * D)
    adapter = {
        "peft_type": "PREFIX_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "num_virtual_tokens": form.length,
        "token_dim": lm.config.dim,
        "num_transformer_submodules": 1,
        "num_attention_heads": lm.config.heads,
        "num_layers": lm.config.layers,
        "encoder_hidden_size": lm.config.dim,
        "prefix_projection": False,
    }
    task = {
        "task": metadata["task"],
        "begin": END,
        "unit_ids": model.dictionary.ids(range(model.dictionary.n_units)).tolist(),
        "labels": list(labels.names),
        "label_ids": model.label_ids.tolist(),
        "allowed": model.allowed,
        "unit_lm_sha256": model.lm.sha256,
    }
    with new_folder(out) as folder:
        write_text(folder / "adapter_config.json", json.dumps(adapter, indent=2))
        save_file({"prompt_embeddings": rows.contiguous()}, folder / "adapter_model.safetensors")
        save_file({"separator": form.separator.detach()}, folder / "separator.safetensors")
        write_text(folder / "task.json", json.dumps(task, indent=2))
        write_text(folder / "README.md", README.format(task=metadata["task"]))
