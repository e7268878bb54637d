"""fairseq's names for the unit LM's weights, both ways and strictly.

The names are those of ``fairseq.models.transformer_lm.TransformerLanguageModel`` 0.12.2 without
the leading ``decoder.``; unit LM files use them too, so that other tools can read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from speechprompt.errors import ArtefactError
from speechprompt.lm.dictionary import PAD
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
    ("gate", "fc1", 0),  # in gated networks only, which fairseq does not have
    ("fc1", "fc1", -1),
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
    ignored = (TIED, *CONSTANTS) if model.config.tied else CONSTANTS
    found = {n: shape for n, shape in shapes_of(given).items() if n not in ignored}
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
    tied = given.get(TIED) if model.config.tied else None
    if tied is not None and not torch.equal(tied, given["embed_tokens.weight"]):
        raise ArtefactError(
            f"{origin}: {TIED} differs from embed_tokens.weight; expected tied embeddings"
        )
    with torch.no_grad():
        for name, target in weights(model).items():
            target.copy_(given[name])


def to_fairseq(model: UnitLM) -> dict[str, Tensor]:
    """The state dict that fairseq's ``TransformerLanguageModel`` loads with ``strict=True``.

    Raises:
        ArtefactError: the model has another form than fairseq's.
    """
    if model.config.form != "gslm":
        raise ArtefactError(f"fairseq has no unit LM of the form {model.config.form}")
    state = {PREFIX + name: tensor.detach().clone() for name, tensor in _named(model)}
    if model.config.learned_positions:
        # fairseq's table begins with the symbols up to padding, which no token has.
        table = state[PREFIX + "embed_positions.weight"]
        state[PREFIX + "embed_positions.weight"] = F.pad(table, (0, 0, PAD + 1, 0))
    state.setdefault(PREFIX + TIED, model.embed.detach().clone())
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
        assert model.positions is not None
        yield "embed_positions.weight", model.positions
    for i, layer in enumerate(model.decoder_layers):
        for theirs, ours, part in _LAYER:
            module = getattr(layer, ours)
            sizes = layer.widths if ours == "qkv" else (model.config.ffn,) * layer.fc1_parts
            if theirs == "gate" and layer.fc1_parts == 1:
                continue
            for kind, tensor in module.named_parameters():
                own = tensor if part is None else tensor.split(sizes)[part]
                yield f"layers.{i}.{theirs}.{kind}", own
    if model.norm is not None:
        for kind, tensor in model.norm.named_parameters():
            yield f"layer_norm.{kind}", tensor
    if model.head is not None:
        yield TIED, model.head
