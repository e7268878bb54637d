"""Reading a ``prompt.safetensors`` onto its unit LM."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from speechprompt.config.tasks import PromptSettings
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.lm.artefact import LoadedLM, load_lm
from speechprompt.lm.fairseq import load_weights
from speechprompt.models.shipped import former_version
from speechprompt.prompting.combinations import is_answer
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.task_model import FORMAT, TaskModel
from speechprompt.runtime.uninitialised import without_weights
from speechprompt.storage.files import content_of
from speechprompt.storage.tensors import check_shapes, read_tensors, shapes_of
from speechprompt.tasks.verbalizer import Verbalizer

__all__ = ["DESCRIBED", "attach_prompt", "load_task_model"]

DESCRIBED = "the prompt that it describes"
# Numbers that a small file may ask for: as many as the largest vocabularies need.
ALWAYS_GRANTED = 2**24


def load_task_model(
    prompt_path: str | Path,
    lm_path: str | Path,
    codebook_sha256: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> TaskModel:
    """Read a prompt (or a fine-tuned LM) onto the unit LM it was trained with.

    Raises:
        ArtefactError: the file is not a prompt, belongs to another unit LM or codebook, or lacks
            tensors or has others.
    """
    lm = load_lm(lm_path, codebook_sha256, dtype, device)
    with content_of(prompt_path):
        return attach_prompt(prompt_path, lm, lm_path)


def attach_prompt(prompt_path: str | Path, lm: LoadedLM, lm_path: str | Path) -> TaskModel:
    """Read a prompt onto a unit LM that is loaded already; prompts may share it.

    Args:
        prompt_path: file of the prompt; a fine-tuned LM overwrites the weights of ``lm``.
        lm: the unit LM.
        lm_path: file of the unit LM, for messages.

    Raises:
        ArtefactError: as for :func:`load_task_model`.
    """
    tensors, metadata = read_tensors(prompt_path)
    if metadata.get("format") != FORMAT:
        raise ArtefactError(
            f"{prompt_path}: not a prompt of this package (its metadata has no `format`)"
        )
    dtype = lm.model.dtype
    for name, found in (("lm_sha256", lm.sha256), ("codebook_sha256", lm.codebook_sha256)):
        if metadata[name] != found:
            raise ArtefactError(
                f"{prompt_path}: trained with {name} {metadata[name]}, but {lm_path} has {found}; "
                "use the unit LM of that training, or train the prompt again"
                f"{former_version(metadata[name])}"
            )
    settings = metadata["verbalizer"]
    # Files of the first versions have no `rows`, `writes`, `members` and `combinations`.
    rows, writes = settings.get("rows", 1), settings.get("writes", False)
    kind, units = settings["kind"], settings["units"]
    members = settings.get("members", 1)
    own = {n: t for n, t in tensors.items() if not n.startswith("lm.")}
    n_numbers = {"allowed": len(metadata["allowed"] or ()) * len(units)}
    if kind == "learnable":
        each = 1 if writes else rows * members
        n_numbers["verbalizer"] = each * len(units) * lm.dictionary.n_units
    _check_claims(prompt_path, n_numbers, sum(tensor.numel() for tensor in own.values()))
    shape = PromptSettings(**metadata["prompt"]) if metadata["prompt"] else None
    n_written = len(units) if writes else 0
    if shape:
        try:
            with without_weights():
                claimed = Prompt(lm.model.config, shape, n_written=n_written).state_dict()
        except ConfigError as error:
            raise ArtefactError(f"{prompt_path}: {error}") from error
        trained = {n: t for n, t in own.items() if not n.startswith("verbalizer.")}
        check_shapes(prompt_path, DESCRIBED, expected=shapes_of(claimed), found=shapes_of(trained))
    verbalizer = Verbalizer(kind, units, lm.dictionary.n_units, rows, writes, members)
    prompt = Prompt(lm.model.config, shape, n_written=n_written) if shape else None
    allowed, known = metadata["allowed"], metadata.get("combinations")
    if known is not None and not _are_combinations(known, allowed):
        raise ArtefactError(f"{prompt_path}: its combinations are not of the labels of its columns")
    task = TaskModel(
        *(lm, prompt, verbalizer, allowed),
        combinations=known,
        end_loss=metadata["end_loss"],
        dtype=dtype,
    )
    if prompt is None:
        load_weights(
            lm.model, {n[3:]: t for n, t in tensors.items() if n not in own}, str(prompt_path)
        )
    expected = {n: p for n, p in task.state().items() if not n.startswith("lm.")}
    check_shapes(prompt_path, DESCRIBED, expected=shapes_of(expected), found=shapes_of(own))
    for name, target in expected.items():
        target.copy_(own[name])
    for module in (prompt, verbalizer):
        if module is not None:
            module.requires_grad_(False)
    return task


def _are_combinations(known: Any, allowed: list[list[int]]) -> bool:
    """Whether this is a list of distinct rows, with a label of each column in each."""
    return (
        bool(known)
        and len(set(map(tuple, known))) == len(known)
        and all(is_answer(row, allowed) for row in known)
        and all(type(label) is int for row in known for label in row)
    )


def _check_claims(path: str | Path, n_numbers: Mapping[str, int], n_stored: int) -> None:
    """Refuse metadata that ask for more memory than the tensors bear witness to.

    Args:
        path: the file.
        n_numbers: how many numbers each entry of the metadata asks for.
        n_stored: how many numbers the tensors have.

    Raises:
        ArtefactError: an entry asks for many more.
    """
    most = max(n_stored, ALWAYS_GRANTED)
    for entry, n in n_numbers.items():
        if not 0 <= n <= most:
            raise ArtefactError(
                f"{path}: its metadata ask for {n:,} numbers for {entry!r}, but its tensors have "
                f"{n_stored:,}; restore the file or train it again"
            )
