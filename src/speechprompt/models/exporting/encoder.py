"""An encoder as a folder that ``transformers`` opens, with its codebook for NumPy.

What is there is the inverse of :mod:`speechprompt.models.importing.transformers_folder`.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.downloads.model_folder import CONFIG, PREPROCESSOR
from speechprompt.encoders import ENCODERS
from speechprompt.encoders.hubert import HubertEncoder
from speechprompt.errors import ArtefactError
from speechprompt.models.importing.transformers_folder import TABLE, transformers_name
from speechprompt.storage.files import new_folder, write_text
from speechprompt.storage.tensors import read_tensor_metadata
from speechprompt.units.codebook import load_codebook

__all__ = ["export_encoder"]

KINDS = {"hubert": "HubertModel", "wav2vec2": "Wav2Vec2Model", "wavlm": "WavLMModel"}


def export_encoder(
    encoder: str | Path, out: str | Path, *, codebook: str | Path | None = None
) -> None:
    """Write an encoder as a folder for ``HubertModel.from_pretrained``.

    The folder has ``config.json``, ``preprocessor_config.json`` and ``model.safetensors``. The
    frames of layer n are ``hidden_states[n]``.

    Args:
        encoder: the encoder's weights: those of a HuBERT, a wav2vec 2.0 or a WavLM.
        out: folder to write.
        codebook: a codebook of its frames; then there is ``codebook.npy`` with the centroids
            [K, D], and ``unit_layer`` in config.json is the layer that they are for.

    Raises:
        ArtefactError: no such encoder of this package, a codebook of another one, or there is
            something in ``out``.
    """
    kind = read_tensor_metadata(encoder).get("kind")
    if kind not in KINDS:
        raise ArtefactError(
            f"{encoder}: expected the weights of one of {', '.join(KINDS)}, found {kind!r:.100}"
        )
    build: type[HubertEncoder] = getattr(
        import_module(f"speechprompt.encoders.{kind}"), ENCODERS[kind]
    )
    tensors, config = build.architecture.read(encoder, None)
    described = _config(kind, config)
    centroids = None
    if codebook is not None:
        loaded = load_codebook(codebook)
        layer = loaded.features.layer
        known = {build.identity(encoder, layer, precision) for precision in ("fp32", "bf16")}
        if loaded.features.encoder_sha256 not in known:
            raise ArtefactError(
                f"{codebook}: expected a codebook of the encoder {encoder}, found that of another"
            )
        centroids, described["unit_layer"] = loaded.centroids, layer
    with new_folder(out) as folder:
        write_text(folder / CONFIG, json.dumps(described, indent=2) + "\n")
        write_text(folder / PREPROCESSOR, json.dumps(_preprocessor(config), indent=2) + "\n")
        named = {transformers_name(name): tensor for name, tensor in tensors.items()}
        counts = {name: t.long() for name, t in named.items() if name.endswith("batches_tracked")}
        save_file({**named, **counts}, folder / "model.safetensors", {"format": "pt"})
        if centroids is not None:
            np.save(folder / "codebook.npy", centroids)


def _config(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Convert an encoder's configuration to the settings of transformers."""
    table = TABLE["settings"] | TABLE["settings_of"].get(kind, {})
    norms = {ours: theirs for theirs, ours in TABLE["norms"].items()}
    columns = zip(*config["extractor_conv_layer_config"], strict=True)
    return {
        "architectures": [KINDS[kind]],
        "model_type": kind,
        "dtype": "float32",
        **{theirs: config.get(ours, default) for ours, (theirs, default) in table.items()},
        "feat_extract_norm": norms[config["extractor_mode"]],
        **dict(zip(TABLE["convolutions"], map(list, columns), strict=True)),
        "num_feat_extract_layers": len(config["extractor_conv_layer_config"]),
        # The model has no weight for what is masked in training.
        "apply_spec_augment": False,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
    }


def _preprocessor(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of the recordings."""
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": config["normalize_waveform"],
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        # Padding may be told from audio only where no norm reaches over it.
        "return_attention_mask": config["extractor_mode"] == "layer_norm",
        "sampling_rate": SAMPLE_RATE,
    }
