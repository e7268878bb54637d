"""Import of unit LMs that ``transformers`` wrote: OPT (TWIST, Hassid et al., 2023), Qwen2, XGLM.

OPT and XGLM have the layers of fairseq's decoder; Qwen2, which Slam (Maimon et al., 2025) is made
of, has its own. OPT and Qwen2 do not scale their embeddings, which is the same as scaling smaller
ones and a larger final norm. What OPT-350m projects embeddings with is multiplied into them.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechprompt.downloads.model_folder import CONFIG, folder_files, read_object
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.lm import Dictionary, LMConfig, UnitLM
from speechprompt.lm.dictionary import END, N_SPECIALS, SEPARATOR
from speechprompt.lm.fairseq import TIED, describe, load_weights, weights
from speechprompt.models.importing.fairseq_settings import demand, require, shown
from speechprompt.models.importing.transformers_folder import read_folder_weights
from speechprompt.runtime.uninitialised import without_initial_values, without_weights
from speechprompt.storage.tensors import check_shapes, shapes_of

__all__ = ["read_hub_unit_lm"]

# What slamkit and TWIST wrap around a model of transformers, and the prefix of its weights.
WRAPPED, WRAPPED_PREFIX = "speech_language_model", "lm."
EMBEDDING, HEAD = "embed_tokens.weight", "lm_head.weight"
INTO, OUT = "project_in.weight", "project_out.weight"
POSITIONS = "embed_positions.weight"
FINAL_NORM = ("layer_norm.weight", "layer_norm.bias")
NAME = re.compile(r"(layers\.\d+\.|)(.+)\.(\w+)")
# Rows of OPT's table of positions that no token has.
OFFSET = 2
SHAPE = {
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "dim": "hidden_size",
    "max_positions": "max_position_embeddings",
}
# By model type: the prefix of the weights, the settings' names, what UnitLM does not have, whether
# the output is the embedding unless the settings say so, and names of weights where they differ.
TYPES: dict[str, dict[str, Any]] = {
    "opt": {
        "prefix": "model.decoder.",
        "names": {**SHAPE, "ffn": "ffn_dim"},
        "fixed": {
            "_remove_final_layer_norm": False,
            "enable_bias": True,
            "layer_norm_elementwise_affine": True,
            "activation_function": "relu",
        },
        "tied": True,
        "weights": {"layer_norm": "final_layer_norm"},
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
        "tied": True,
        "weights": {},
    },
    "qwen2": {
        "prefix": "model.",
        "names": {**SHAPE, "ffn": "intermediate_size", "kv_heads": "num_key_value_heads"},
        "fixed": {"hidden_act": "silu", "use_sliding_window": False},
        "tied": False,
        "weights": {
            "self_attn_layer_norm": "input_layernorm",
            "self_attn.out_proj": "self_attn.o_proj",
            "final_layer_norm": "post_attention_layernorm",
            "gate": "mlp.gate_proj",
            "fc1": "mlp.up_proj",
            "fc2": "mlp.down_proj",
            "layer_norm": "norm",
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
        *others, last = TYPES
        raise ArtefactError(
            f"{origin}: expected a unit LM of type {', '.join(others)} or {last}, found "
            f"{kind!r:.100}"
        )
    tokens, form = _tokens(settings, n_units, origin), TYPES[kind]
    tied = _flag(settings, "tie_word_embeddings", form["tied"], origin)
    config = _config(settings, kind, tied, N_SPECIALS + len(tokens["units"]), origin)
    tensors = {
        name.removeprefix(prefix).removeprefix(form["prefix"]): tensor.float()
        for name, tensor in read_folder_weights(files, trust).items()
    }
    with without_weights():  # the configuration may claim any size
        shapes = shapes_of(weights(UnitLM(config)))
    names = {_theirs(ours, form["weights"]): ours for ours in shapes if ours != TIED}
    expected = {theirs: shapes[ours] for theirs, ours in names.items()}
    _check(tensors, expected, settings, config, tied, origin)
    found = {names[name]: tensors[name] for name in names}
    with without_initial_values():
        model = UnitLM(config)
    load_weights(model, found | _symbols(tensors, found, tokens, config, kind), origin)
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
    settings: Mapping[str, Any], kind: str, tied: bool, n_symbols: int, origin: str
) -> LMConfig:
    form = TYPES[kind]
    demand(settings, form["fixed"], origin)
    shape = {ours: require(settings, name, int, origin) for ours, name in form["names"].items()}
    own: dict[str, Any] = {
        "tied": tied and _embedding_width(settings, shape["dim"]) == shape["dim"]
    }
    if kind == "opt":
        own["learned_positions"] = True
        if not _flag(settings, "do_layer_norm_before", True, origin):
            # Without a final norm, the output cannot undo that embeddings are scaled.
            own |= {"form": "opt-350m", "tied": False}
    elif kind == "qwen2":
        _check_attention(settings, shape, origin)
        own |= {"form": "qwen2", "rotary_base": _rotary_base(settings, origin)}
        own["norm_epsilon"] = settings.get("rms_norm_eps", 1e-6)
    try:
        return LMConfig(n_symbols, **shape, **own)
    except ConfigError as error:
        raise ArtefactError(f"{origin}: {error}") from error


def _flag(settings: Mapping[str, Any], name: str, default: bool, origin: str) -> bool:
    return bool(require({name: default, **settings}, name, bool, origin))


def _embedding_width(settings: Mapping[str, Any], dim: int) -> Any:
    """The width of embeddings; those that differ from the layers' are projected."""
    return settings.get("word_embed_proj_dim", dim)


def _check_attention(settings: Mapping[str, Any], shape: Mapping[str, int], origin: str) -> None:
    """Refuse heads of another width, and layers that attend to a part of the sequence."""
    width = settings.get("head_dim")
    if width is not None and width * shape["heads"] != shape["dim"]:
        raise ArtefactError(
            f"{origin}: head_dim: expected hidden_size / num_attention_heads, found {width!r:.100}"
        )
    layers = settings.get("layer_types") or ()
    if wrong := [layer for layer in layers if layer != "full_attention"]:
        raise ArtefactError(
            f"{origin}: layer_types: expected full_attention only, found {wrong[0]!r:.100}"
        )


def _rotary_base(settings: Mapping[str, Any], origin: str) -> Any:
    """The base of rotary positions, as transformers 4 or 5 writes it."""
    rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    usual = {"rope_type": "default", "type": "default", "partial_rotary_factor": 1}
    if not isinstance(rope, Mapping) or any(
        value != usual.get(name) for name, value in rope.items() if name != "rope_theta"
    ):
        raise ArtefactError(
            f"{origin}: rope_parameters: expected rope_type default, found {shown(rope)}"
        )
    return rope.get("rope_theta", settings.get("rope_theta", 1e4))


def _check(
    tensors: Mapping[str, Tensor],
    expected: dict[str, tuple[int, ...]],
    settings: Mapping[str, Any],
    config: LMConfig,
    tied: bool,
    origin: str,
) -> None:
    """Check names and shapes of the weights.

    Args:
        tensors: what there is.
        expected: shapes of the model of this package.
        settings: of config.json, which says what shapes embeddings and positions have.
        config: of the model.
        tied: whether the output is the embedding.
        origin: the folder.
    """
    vocabulary, width = settings["vocab_size"], _embedding_width(settings, config.dim)
    embedding = tensors.get(EMBEDDING)
    if embedding is None:
        raise ArtefactError(f"{origin}: weight {EMBEDDING} is missing")
    if embedding.ndim != 2 or len(embedding) != vocabulary:
        raise ArtefactError(
            f"{origin}: expected {EMBEDDING} with vocab_size = {vocabulary} rows, found "
            f"{tuple(embedding.shape)}"
        )
    if tied and not torch.equal(tensors.get(HEAD, embedding), embedding):
        raise ArtefactError(f"{origin}: {HEAD} differs from {EMBEDDING}; expected tied embeddings")
    if width != config.dim and INTO not in tensors:
        raise ArtefactError(
            f"{origin}: word_embed_proj_dim: expected the width {config.dim}, found {width!r:.100}"
        )
    expected[EMBEDDING] = (vocabulary, width)
    if not tied or HEAD in tensors:
        expected[HEAD] = (vocabulary, width)
    if width != config.dim:
        expected |= {INTO: (config.dim, width), OUT: (width, config.dim)}
    if POSITIONS in expected:
        expected[POSITIONS] = (OFFSET + config.max_positions, config.dim)
    check_shapes(origin, describe(config), expected=expected, found=shapes_of(tensors))


def _symbols(
    tensors: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    tokens: Mapping[str, Any],
    config: LMConfig,
    kind: str,
) -> dict[str, Tensor]:
    """The weights by which this package's symbols and positions are read and scored.

    Matrices that project embeddings are multiplied into them. Of a model that does not scale its
    embeddings the weights become those of one that does.
    """
    embedding = tensors[EMBEDDING]
    head = tensors.get(HEAD, embedding)
    if INTO in tensors:
        embedding, head = embedding @ tensors[INTO].T, head @ tensors[OUT]
    made = {EMBEDDING: _choose_rows(embedding, tokens)}
    if not config.tied:
        made[TIED] = _choose_rows(head, tokens)
    if POSITIONS in found:
        made[POSITIONS] = found[POSITIONS][OFFSET:]
    if kind != "xglm":
        made[EMBEDDING] /= config.dim**0.5
        if config.tied:
            norm = {name: found[name] for name in FINAL_NORM if name in found}
            made |= {name: weight * config.dim**0.5 for name, weight in norm.items()}
    return made


def _choose_rows(table: Tensor, tokens: Mapping[str, Any]) -> Tensor:
    """The rows of a table in the order of this package's symbols."""
    rows = table.new_zeros(N_SPECIALS + len(tokens["units"]), table.shape[1])
    rows[SEPARATOR], rows[END] = table[tokens["separator"]], table[tokens["end"]]
    rows[N_SPECIALS:] = table[tokens["units"]]
    return rows


def _theirs(name: str, renamed: Mapping[str, str]) -> str:
    """The name in transformers of a weight, by its name in fairseq."""
    found = NAME.fullmatch(name)
    assert found is not None
    layer, module, kind = found.groups()
    return f"{layer}{renamed.get(module, module)}.{kind}"
