"""fairseq's names for the unit LM's weights, both ways and strictly.

The names are those of ``fairseq.models.transformer_lm.TransformerLanguageModel`` 0.12.2 without
the leading ``decoder.``; unit LM files use them too, so that other tools can read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from speechprompt.errors import ArtefactError
from speechprompt.lm.model import LMConfig, UnitLM
from speechprompt.storage.tensors import check_shapes, shapes_of

__all__ = [
    "check_weights",
    "config_from_weights",
    "describe",
    "load_weights",
    "to_fairseq",
    "weights",
]

PREFIX = "decoder."
_LAYER = (
    ("self_attn.k_proj", "qkv", 1),
    ("self_attn.v_proj", "qkv", 2),
    ("self_attn.q_proj", "qkv", 0),
    ("self_attn.out_proj", "out", None),
    ("self_attn_layer_norm", "attention_norm", None),
    ("fc1", "fc1", None),
    ("fc2", "fc2", None),
    ("final_layer_norm", "ffn_norm", None),
)
# fairseq stores these besides the weights; they carry no information.
CONSTANTS = ("version", "embed_positions._float_tensor")
TIED = "output_projection.weight"


def weights(model: UnitLM) -> dict[str, Tensor]:
    """The model's weights under fairseq's names without ``decoder.``; views, not copies."""
    return dict(_named(model))


def describe(config: LMConfig) -> str:
    """A unit LM in words, for messages."""
    return (
        f"a unit LM of {config.layers} layers of {config.dim} dimensions over {config.n_symbols} "
        "symbols"
    )


def check_weights(model: UnitLM, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Check names and shapes as :func:`load_weights` does; the model's weights need no memory.

    Raises:
        ArtefactError: weights are missing, left over or of another shape.
    """
    given = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    found = {n: shape for n, shape in shapes_of(given).items() if n not in (TIED, *CONSTANTS)}
    expected = shapes_of(weights(model))
    check_shapes(origin, describe(model.config), expected=expected, found=found)


def load_weights(model: UnitLM, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Load weights named as fairseq names them, with or without ``decoder.``.

    Raises:
        ArtefactError: weights are missing, left over or of another shape, or the output matrix is
            not the embedding; ``origin`` names the file.
    """
    check_weights(model, tensors, origin)
    given = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    tied = given.get(TIED)
    if tied is not None and not torch.equal(tied, given["embed_tokens.weight"]):
        raise ArtefactError(
            f"{origin}: {TIED} differs from embed_tokens.weight; expected tied embeddings"
        )
    with torch.no_grad():
        for name, target in weights(model).items():
            target.copy_(given[name])


def to_fairseq(model: UnitLM) -> dict[str, Tensor]:
    """The state dict that fairseq's ``TransformerLanguageModel`` loads with ``strict=True``."""
    state = {PREFIX + name: tensor.detach().clone() for name, tensor in _named(model)}
    state[PREFIX + TIED] = state[PREFIX + "embed_tokens.weight"].clone()
    state[PREFIX + "version"] = torch.tensor([3.0])
    state[PREFIX + "embed_positions._float_tensor"] = torch.zeros(1)
    return state


def config_from_weights(
    tensors: Mapping[str, Tensor], heads: int, max_positions: int, origin: str
) -> LMConfig:
    """The shape of a model from its weights, which do not tell the heads and the positions.

    Raises:
        ArtefactError: a weight that fixes the shape is missing.
    """
    given = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    numbers = [int(m[1]) for name in given if (m := re.match(r"layers\.(\d+)\.", name))]
    try:
        n_symbols, dim = given["embed_tokens.weight"].shape
        ffn = given["layers.0.fc1.weight"].shape[0]
    except KeyError as error:
        raise ArtefactError(f"{origin}: not a unit LM, weight {error} is missing") from error
    return LMConfig(n_symbols, max(numbers) + 1, heads, dim, ffn, max_positions)


def _named(model: UnitLM) -> Iterator[tuple[str, Tensor]]:
    yield "embed_tokens.weight", model.embed
    if model.config.learned_positions:
        # fairseq's table has rows for the symbols up to padding, too, which no token has.
        yield "embed_positions.weight", model.positions
    for i, layer in enumerate(model.layers):
        for theirs, ours, part in _LAYER:
            for kind in ("weight", "bias"):
                tensor = getattr(getattr(layer, ours), kind)
                if part is not None:
                    tensor = tensor.chunk(3)[part]
                yield f"layers.{i}.{theirs}.{kind}", tensor
    yield "layer_norm.weight", model.norm.weight
    yield "layer_norm.bias", model.norm.bias
