"""Import of HuBERT (Hsu et al., 2021) as fairseq, torchaudio or transformers published it.

The weights of fairseq 0.12.2's ``HubertModel`` are mapped one to one to those of
``torchaudio.models.wav2vec2_model``. All weights of the encoder must be there. Only the weights
that pre-training or fine-tuning added to the encoder are left out.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechprompt.downloads.model_folder import is_folder
from speechprompt.encoders.hubert import HUBERT
from speechprompt.encoders.weights import check_layers
from speechprompt.errors import ArtefactError, AssetError, some_of
from speechprompt.models.importing.fairseq_settings import demand, fairseq_settings, require, shown
from speechprompt.models.importing.pickles import (
    identify,
    load_checkpoint,
    named_tensors,
    published,
)
from speechprompt.models.importing.transformers_folder import NORMED, import_folder
from speechprompt.storage.tensors import check_shapes, shapes_of

__all__ = ["fairseq_names", "import_hubert"]

BUNDLES = ("HUBERT_BASE", "HUBERT_LARGE", "HUBERT_XLARGE")
# Prefix of the encoder's weights in fine-tuned models (``hubert_ctc``).
FINE_TUNED = "w2v_encoder.w2v_model."
# Weights that training adds: masking, the clusters to predict, a fine-tuned output layer.
HEADS = re.compile(
    r"mask_emb|label_embs_concat|(final_proj|target_glu\.0|w2v_encoder\.proj|aux)\.(weight|bias)"
)
# Settings that torchaudio does not have; it computes with fairseq's defaults.
FIXED = {"activation_fn": "gelu", "layer_type": "transformer", "pos_conv_depth": 1}
EXTRACTOR_MODES = {"default": "group_norm", "layer_norm": "layer_norm"}
# A part of the text for convolutions, such as "[(512,3,2)] * 4".
LAYER = r"\(\s*\d{1,6}\s*,\s*\d{1,6}\s*,\s*\d{1,6}\s*\)"
LAYERS = re.compile(rf"\s*\[\s*({LAYER}(?:\s*,\s*{LAYER})*)\s*\]\s*(?:\*\s*(\d{{1,2}})\s*)?")
POSITIONS = "encoder.transformer.pos_conv_embed.conv"
# Configuration, torchaudio's name for each name of a weight, and weights.
Contents = tuple[dict[str, Any], dict[str, str], dict[str, Tensor]]


def import_hubert(
    checkpoint: str | Path,
    out: str | Path,
    *,
    sha256: str | None = None,
    normalize: bool | None = None,
    trust: bool = False,
) -> None:
    """Import a HuBERT of any size.

    Args:
        checkpoint: A checkpoint of fairseq, pre-trained (``hubert_base_ls960.pt``) or fine-tuned
            with CTC, or the file of one of torchaudio's pipelines
            (``hubert_fairseq_base_ls960.pth``), or a folder of transformers.
        out: The safetensors file, for ``weights`` of an encoder of kind hubert.
        sha256: The sum that the checkpoint must have; a folder has none.
        normalize: Whether waveforms are normalised; by default as the checkpoint says.
        trust: Run all code that the checkpoint asks for; only for your own files.

    Raises:
        AssetError: the file has another sum, is damaged or would run code.
        ArtefactError: this is another model, or a weight is missing, surplus or of another shape.
    """
    if is_folder(checkpoint):
        if sha256:
            raise AssetError(f"{checkpoint}: sha256 is the sum of a file, and this is a folder")
        import_folder(checkpoint, out, HUBERT, normalize=normalize, trust=trust)
        return
    origin = str(checkpoint)
    source = identify(checkpoint, sha256)
    with published(origin):
        state = load_checkpoint(checkpoint, trust=trust)
        is_fairseq = isinstance(state, Mapping) and "model" in state
        read = _read_fairseq if is_fairseq else _read_torchaudio
        config, names, tensors = read(state, origin)
        if normalize is not None:
            config["normalize_waveform"] = normalize
        shapes = HUBERT.shapes(origin, config)
        expected = {theirs: shapes[ours] for theirs, ours in names.items()}
        model = HUBERT.description.format(**config)
        check_shapes(origin, model, expected=expected, found=shapes_of(tensors))
        weights = {names[name]: tensor.float() for name, tensor in tensors.items()}
        HUBERT.write(out, weights, config, {"source": source})


def _read_fairseq(state: Mapping[str, Any], origin: str) -> Contents:
    """Read a file of fairseq."""
    settings = fairseq_settings(state, origin)
    tensors = named_tensors(state["model"], origin)
    if any(name.startswith(FINE_TUNED) for name in tensors):
        inner = require(settings, "w2v_args", dict, origin)
        settings = fairseq_settings({"cfg" if "model" in inner else "args": inner}, origin)
    tensors = {
        name.removeprefix(FINE_TUNED): tensor
        for name, tensor in tensors.items()
        if not HEADS.fullmatch(name.removeprefix(FINE_TUNED))
    }
    config = _config(settings, origin)
    check_layers(origin, "setting encoder_layers", config["encoder_num_layers"])
    return config, dict(fairseq_names(config)), tensors


def _config(settings: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Convert fairseq's settings to the configuration of :mod:`speechprompt.encoders.hubert`."""
    name = settings.get("_name") or settings.get("arch") or "hubert"
    if not (isinstance(name, str) and name.startswith("hubert")):
        raise ArtefactError(f"{origin}: expected a HuBERT, found {shown(name)}")
    demand(settings, FIXED, origin)
    mode = settings.get("extractor_mode")
    if mode not in EXTRACTOR_MODES:
        raise ArtefactError(
            f"{origin}: setting extractor_mode: expected one of {', '.join(EXTRACTOR_MODES)}, "
            f"found {shown(mode)}"
        )
    layers = require(settings, "conv_feature_layers", str, origin)
    return {
        "extractor_mode": EXTRACTOR_MODES[mode],
        "extractor_conv_layer_config": _convolutions(layers, origin),
        "extractor_conv_bias": require(settings, "conv_bias", bool, origin),
        "encoder_embed_dim": require(settings, "encoder_embed_dim", int, origin),
        "encoder_projection_dropout": settings.get("dropout_input", 0.0),
        "encoder_pos_conv_kernel": require(settings, "conv_pos", int, origin),
        "encoder_pos_conv_groups": require(settings, "conv_pos_groups", int, origin),
        "encoder_num_layers": require(settings, "encoder_layers", int, origin),
        "encoder_num_heads": require(settings, "encoder_attention_heads", int, origin),
        "encoder_attention_dropout": settings.get("attention_dropout", 0.0),
        "encoder_ff_interm_features": require(settings, "encoder_ffn_embed_dim", int, origin),
        "encoder_ff_interm_dropout": settings.get("activation_dropout", 0.0),
        "encoder_dropout": settings.get("dropout", 0.0),
        "encoder_layer_norm_first": require(settings, "layer_norm_first", bool, origin),
        "encoder_layer_drop": settings.get("encoder_layerdrop", 0.0),
        "normalize_waveform": require(settings, "normalize", bool, origin),
    }


def fairseq_names(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield fairseq's name and torchaudio's name of every weight of the encoder."""
    modules = [
        ("post_extract_proj", "encoder.feature_projection.projection"),
        ("layer_norm", "encoder.feature_projection.layer_norm"),
        ("encoder.layer_norm", "encoder.transformer.layer_norm"),
    ]
    for i in range(config["encoder_num_layers"]):
        theirs, ours = f"encoder.layers.{i}", f"encoder.transformer.layers.{i}"
        modules += [
            *(
                (f"{theirs}.self_attn.{part}_proj", f"{ours}.attention.{part}_proj")
                for part in ("k", "v", "q", "out")
            ),
            (f"{theirs}.self_attn_layer_norm", f"{ours}.layer_norm"),
            (f"{theirs}.fc1", f"{ours}.feed_forward.intermediate_dense"),
            (f"{theirs}.fc2", f"{ours}.feed_forward.output_dense"),
            (f"{theirs}.final_layer_norm", f"{ours}.final_layer_norm"),
        ]
    grouped = config["extractor_mode"] == "group_norm"
    for i in range(len(config["extractor_conv_layer_config"])):
        theirs, ours = (f"feature_extractor.conv_layers.{i}" for _ in range(2))
        yield f"{theirs}.0.weight", f"{ours}.conv.weight"
        if config["extractor_conv_bias"]:
            yield f"{theirs}.0.bias", f"{ours}.conv.bias"
        if not grouped or i == 0:
            modules.append((f"{theirs}.2" if grouped else f"{theirs}.2.1", f"{ours}.layer_norm"))
    for theirs, ours in modules:
        for kind in ("weight", "bias"):
            yield f"{theirs}.{kind}", f"{ours}.{kind}"
    for theirs, ours in {"bias": "bias", **NORMED}.items():
        yield f"encoder.pos_conv.0.{theirs}", f"{POSITIONS}.{ours}"


def _convolutions(text: str, origin: str) -> list[list[int]]:
    """Parse channels, kernel and stride of each layer in ``[(512,10,5)] + [(512,3,2)] * 4``.

    fairseq evaluates this text as Python, which is not safe.
    """
    layers: list[list[int]] = []
    for part in text.split("+"):
        if (match := LAYERS.fullmatch(part)) is None:
            raise ArtefactError(
                f"{origin}: setting conv_feature_layers: expected a text such as "
                f"'[(512,10,5)] + [(512,3,2)] * 4', found {text[:200]!r}"
            )
        listed = [[int(n) for n in re.findall(r"\d+", one)] for one in re.findall(LAYER, match[1])]
        layers += listed * int(match[2] or 1)
        check_layers(origin, "setting conv_feature_layers", len(layers))
    return layers


def _read_torchaudio(state: Any, origin: str) -> Contents:
    """Read a file of ``torchaudio.pipelines``: its width tells which model it is."""
    from torchaudio import pipelines

    tensors = {
        _new_name(name): tensor
        for name, tensor in named_tensors(state, origin).items()
        if not HEADS.fullmatch(name)
    }
    bundles = (getattr(pipelines, name) for name in BUNDLES)
    widths = {bundle._params["encoder_embed_dim"]: bundle for bundle in bundles}
    projection = tensors.get("encoder.feature_projection.projection.weight")
    bundle = widths.get(len(projection)) if projection is not None else None
    if bundle is None:
        raise ArtefactError(
            f"{origin}: expected a checkpoint of fairseq (with `model` and `cfg`) or the weights "
            f"of one of torchaudio's {', '.join(BUNDLES)}, found {some_of(tensors, 5)}"
        )
    config = {key: value for key, value in bundle._params.items() if key != "aux_num_out"}
    config["extractor_conv_layer_config"] = [
        list(layer) for layer in config["extractor_conv_layer_config"]
    ]
    config["normalize_waveform"] = bundle._normalize_waveform
    return config, {name: name for name in HUBERT.shapes(origin, config)}, tensors


def _new_name(name: str) -> str:
    """torchaudio's name of a weight since torch 2.1."""
    module, _, kind = name.rpartition(".")
    return f"{module}.{NORMED[kind]}" if kind in NORMED else name
