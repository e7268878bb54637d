"""Batches that tasks share: one frozen unit LM reads utterances with different prompts at once.

The rows of all prompts stand one after the other in front of the packed rows. Every utterance
attends to those of its own prompt and has the separator of its own prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from speechprompt.lm.cache import Cache
from speechprompt.lm.packing import pack
from speechprompt.lm.prompt_tensors import PromptTensors
from speechprompt.prompting.task_model import TaskModel

__all__ = ["group_tasks", "read_sources"]


def group_tasks(tasks: Sequence[TaskModel]) -> list[list[int]]:
    """Group the tasks that may share a batch; each task is given by its number.

    Prompts of any length may, if they are on the same unit LM and have deep rows in every layer.
    A fine-tuned LM, and a prompt without deep rows in some layer, has batches of its own.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for number, task in enumerate(tasks):
        prompt = task.prompt
        mixes = (
            prompt is not None
            and prompt.mode != "query"
            and len(prompt.layers) == prompt.n_lm_layers
        )
        groups.setdefault((id(task.model), -1 if mixes else number), []).append(number)
    return list(groups.values())


@torch.no_grad()
def read_sources(
    tasks: Sequence[TaskModel],
    owners: Sequence[int],
    units: Sequence[np.ndarray],
    cache: Cache | None = None,
) -> Tensor:
    """Read B utterances, each with the prompt of its task.

    Args:
        tasks: one task, or several of one group.
        owners: for each utterance the number of its task.
        units: units 0..K-1 of each utterance.
        cache: an empty cache, which is filled with what decoding needs.

    Returns:
        (B, D) hidden states at the separators, where answers begin; (B, R, D) what a learnable
        verbalizer reads with query rows.
    """
    present = sorted(set(owners))
    first = tasks[present[0]]
    if len(present) == 1 and first.padded is not None:
        return first.padded.sources(units, first.prompt_tensors(), cache)
    if len(present) == 1:
        return first.read(units, first.prompt_tensors(), cache=cache).hidden
    prompts = [each for number in present if (each := tasks[number].prompt) is not None]
    joined = PromptTensors(
        torch.stack([each.separator for each in prompts]),
        layers=prompts[0].layers,
        keys=torch.cat([each.keys for each in prompts], dim=1),
        values=torch.cat([each.values for each in prompts], dim=1),
    )
    starts = np.cumsum([0, *(each.length for each in prompts)])
    places = [present.index(owner) for owner in owners]
    sequences, wanted = [], []
    for owner, place, row in zip(owners, places, units, strict=True):
        (slots,), _, (separator,) = tasks[owner].slots([row])
        sequences.append(np.where(slots < 0, slots - starts[place], slots))
        wanted.append(separator)
    packed = pack(sequences, wanted, owners=places, device=first.device, dtype=first.dtype)
    return first.model(packed, joined, cache)[packed.wanted_query[:, 0]]
