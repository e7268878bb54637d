"""Import of unit LMs that ``transformers`` wrote: OPT (TWIST, Hassid et al., 2023) and XGLM.

Both have the layers of fairseq's decoder. OPT does not scale its embeddings, which is the same as
scaling smaller ones and a larger final norm. Its positions are learnt.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechprompt.downloads.model_folder import CONFIG, folder_files, read_object
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.lm import Dictionary, LMConfig, UnitLM
from speechprompt.lm.dictionary import END, N_SPECIALS, SEPARATOR
from speechprompt.lm.fairseq import check_weights, load_weights
from speechprompt.models.importing.fairseq_settings import demand, require
from speechprompt.models.importing.transformers_folder import read_folder_weights
from speechprompt.runtime.uninitialised import without_initial_values, without_weights

__all__ = ["read_hub_unit_lm"]

# What slamkit and TWIST wrap around a model of transformers, and the prefix of its weights.
WRAPPED, WRAPPED_PREFIX = "speech_language_model", "lm."
TIED = "lm_head.weight"
# Rows of OPT's table of positions that no token has.
OFFSET = 2
# By model type: the prefix of the weights, the settings' names, and what UnitLM does not have.
TYPES: dict[str, dict[str, Any]] = {
    "opt": {
        "prefix": "model.decoder.",
        "names": {
            "layers": "num_hidden_layers",
            "heads": "num_attention_heads",
            "dim": "hidden_size",
            "ffn": "ffn_dim",
            "max_positions": "max_position_embeddings",
        },
        "fixed": {
            "do_layer_norm_before": True,
            "_remove_final_layer_norm": False,
            "enable_bias": True,
            "layer_norm_elementwise_affine": True,
            "activation_function": "relu",
            "tie_word_embeddings": True,
        },
        "same_as_dim": "word_embed_proj_dim",
    },
    "xglm": {
        "prefix": "model.",
        "names": {
            "layers": "num_layers",
            "heads": "attention_heads",
            "dim": "d_model",
            "ffn": "ffn_dim",
            "max_positions": "max_position_embeddings",
        },
        "fixed": {
            "activation_function": "relu",
            "scale_embedding": True,
            "add_cross_attention": False,
            "tie_word_embeddings": True,
        },
    },
}


def read_hub_unit_lm(
    folder: Path, n_units: int | None, trust: bool = False
) -> tuple[UnitLM, Dictionary]:
    """Read a unit LM from a folder of ``transformers``.

    The tokens of the units are ``unit_ids`` in config.json, as this package exports it. Otherwise
    they follow the highest special token in order, as slamkit has it. Its first token begins and
    ends a sequence, and is where the separator starts from.

    Args:
        folder: the folder.
        n_units: number of units of the codebook; None takes all tokens behind the special ones.
        trust: Run all code that a pickle in the folder asks for; only for your own files.

    Raises:
        ArtefactError: this is another model, a weight is missing, surplus or of another shape, or
            there are too few tokens for the units.
    """
    origin = str(folder)
    files = folder_files(folder)
    settings = read_object(folder / CONFIG)
    prefix = ""
    if settings.get("model_type") == WRAPPED:
        inner, prefix = settings.get("base_config"), WRAPPED_PREFIX
        if not isinstance(inner, Mapping):
            raise ArtefactError(f"{origin}: expected `base_config` in {CONFIG} of {WRAPPED}")
        settings = {**inner, "vocab_size": settings.get("vocab_size", inner.get("vocab_size"))}
    kind = settings.get("model_type")
    if kind not in TYPES:
        raise ArtefactError(
            f"{origin}: expected a unit LM of type {' or '.join(TYPES)}, found {kind!r:.100}"
        )
    tokens = _tokens(settings, n_units, origin)
    config = _config(settings, TYPES[kind], N_SPECIALS + len(tokens["units"]), kind, origin)
    found = read_folder_weights(files, trust)
    tensors = _named(found, prefix, TYPES[kind]["prefix"], origin)
    _choose_rows(tensors, tokens, require(settings, "vocab_size", int, origin), origin)
    if kind == "opt":
        _scale(tensors, config)
    with without_weights():  # the configuration may claim any size
        check_weights(UnitLM(config), tensors, origin)
    with without_initial_values():
        model = UnitLM(config)
    load_weights(model, tensors, origin)
    return model, Dictionary(range(len(tokens["units"])))


def _tokens(settings: Mapping[str, Any], n_units: int | None, origin: str) -> dict[str, Any]:
    """Tokens of the separator, of begin and end, and of every unit."""
    vocabulary = require(settings, "vocab_size", int, origin)
    special = {}
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        given = settings.get(name)
        if given is not None and not (type(given) is int and 0 <= given < vocabulary):
            raise ArtefactError(f"{origin}: {name} is no token: {given!r:.100}")
        special[name] = given
    end = special["eos_token_id"]
    if end is None:
        raise ArtefactError(f"{origin}: expected eos_token_id in {CONFIG}, which ends a sequence")
    units = settings.get("unit_ids")
    if units is None:
        first = max(token for token in special.values() if token is not None) + 1
        count = vocabulary - first if n_units is None else n_units
        units = list(range(first, first + count))
    is_tokens = isinstance(units, list) and all(type(token) is int for token in units)
    if not is_tokens or not units or len(set(units)) < len(units):
        raise ArtefactError(f"{origin}: unit_ids: expected one token for each unit")
    if n_units is not None and len(units) != n_units:
        raise ArtefactError(
            f"{origin}: expected a unit LM of the codebook's {n_units} units, found {len(units)}"
        )
    if min(units) < 0 or max(units) >= vocabulary:
        raise ArtefactError(
            f"{origin}: expected tokens for {len(units)} units from {units[0]} on, found a "
            f"vocabulary of {vocabulary}"
        )
    separator = settings.get("separator_token_id", special["bos_token_id"])
    return {"separator": end if separator is None else separator, "end": end, "units": units}


def _config(
    settings: Mapping[str, Any], form: Mapping[str, Any], n_symbols: int, kind: str, origin: str
) -> LMConfig:
    demand(settings, form["fixed"], origin)
    shape = {ours: require(settings, name, int, origin) for ours, name in form["names"].items()}
    same = form.get("same_as_dim")
    if same is not None and settings.get(same, shape["dim"]) != shape["dim"]:
        raise ArtefactError(
            f"{origin}: {same}: expected the width {shape['dim']}, found {settings[same]!r:.100}"
        )
    try:
        return LMConfig(n_symbols, **shape, learned_positions=kind == "opt")
    except ConfigError as error:
        raise ArtefactError(f"{origin}: {error}") from error


def _named(found: Mapping[str, Tensor], outer: str, prefix: str, origin: str) -> dict[str, Tensor]:
    """Weights under fairseq's names, in 32 bits."""
    whole = {name.removeprefix(outer): tensor for name, tensor in found.items()}
    tied = whole.pop(TIED, None)
    tensors = {name.removeprefix(prefix): tensor.float() for name, tensor in whole.items()}
    embedding = tensors.get("embed_tokens.weight")
    if embedding is None:
        raise ArtefactError(f"{origin}: weight {outer}{prefix}embed_tokens.weight is missing")
    if tied is not None and not torch.equal(tied.float(), embedding):
        raise ArtefactError(
            f"{origin}: {outer}{TIED} differs from {outer}{prefix}embed_tokens.weight; expected "
            "tied embeddings"
        )
    return tensors


def _choose_rows(
    tensors: dict[str, Tensor], tokens: Mapping[str, Any], vocabulary: int, origin: str
) -> None:
    """Put the embeddings in the order of this package's symbols."""
    embedding = tensors["embed_tokens.weight"]
    if embedding.ndim != 2 or len(embedding) != vocabulary:
        raise ArtefactError(
            f"{origin}: expected embed_tokens.weight with vocab_size = {vocabulary} rows, found "
            f"{tuple(embedding.shape)}"
        )
    rows = embedding.new_zeros(N_SPECIALS + len(tokens["units"]), embedding.shape[1])
    rows[SEPARATOR], rows[END] = embedding[tokens["separator"]], embedding[tokens["end"]]
    rows[N_SPECIALS:] = embedding[tokens["units"]]
    tensors["embed_tokens.weight"] = rows


def _scale(tensors: dict[str, Tensor], config: LMConfig) -> None:
    """Make OPT's weights those of a model that scales its embeddings."""
    factor = config.dim**0.5
    tensors["embed_tokens.weight"] = tensors["embed_tokens.weight"] / factor
    for name in ("final_layer_norm.weight", "final_layer_norm.bias"):
        if name in tensors:
            tensors[f"layer_norm.{name.rpartition('.')[2]}"] = tensors.pop(name) * factor
    positions = tensors.get("embed_positions.weight")
    if positions is not None:
        tensors["embed_positions.weight"] = positions[OFFSET:]
