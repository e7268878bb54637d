"""HuBERT (Hsu et al., 2021) in any size: torchaudio's model, with weights from a safetensors file.

The file contains its configuration: all arguments of ``torchaudio.models.wav2vec2_model`` but
``aux_num_out``, and ``normalize_waveform``. The latter says whether each waveform is normalised to
mean 0 and variance 1 (fairseq's ``task.normalize``: false for HuBERT base, true for large).
:data:`OPTIONAL` has what only some models have.

A layer's output is what fairseq and torchaudio call so, and ``hidden_states[layer]`` of
transformers 5. Where norms come first (HuBERT large) it is the sum after the residual connection,
also in the last layer, where transformers 4 gives the sum after the encoder's final norm.
"""

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations
from torchaudio.models import Wav2Vec2Model, wav2vec2_model

from speechprompt.audio.front_end import window_and_shift
from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.encoders.base import Encoder
from speechprompt.encoders.hubert_layers import HubertLayers
from speechprompt.encoders.weights import Architecture, check_layers, full_precision
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.runtime.uninitialised import without_weights
from speechprompt.storage.hashes import sha256_file, sha256_json
from speechprompt.storage.tensors import Shapes, shapes_of

__all__ = ["HUBERT", "HubertEncoder", "build"]

# The positional convolution may have a batch norm of its input instead of a weight norm. The
# epsilon is added to a waveform's variance: fairseq's, or 1e-7 of models that transformers wrote.
OPTIONAL = {"conv_pos_batch_norm": False, "normalize_epsilon": 1e-5}
CONFIG_KEYS = frozenset(inspect.signature(wav2vec2_model).parameters) - {"aux_num_out"} | {
    "normalize_waveform"
}

# Seconds of audio in a batch on an accelerator, which the start of its operations would idle.
ACCELERATED_SECONDS = 400.0

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def build(path: str | Path, config: Mapping[str, Any]) -> Wav2Vec2Model:
    """Build the model on the meta device, without memory for its weights.

    Raises:
        ArtefactError: the configuration of the file is impossible.
    """
    batch_norm = config.get("conv_pos_batch_norm", False)
    own = ("normalize_waveform", *OPTIONAL)
    arguments = {key: value for key, value in config.items() if key not in own}
    check_layers(path, "encoder_num_layers", config["encoder_num_layers"])
    try:
        check_layers(path, "convolutions", len(config["extractor_conv_layer_config"]))
        window_and_shift(config["extractor_conv_layer_config"])
        with without_weights():
            model = wav2vec2_model(**arguments, aux_num_out=None)
            if batch_norm:
                embedding = model.encoder.transformer.pos_conv_embed
                remove_parametrizations(embedding.conv, "weight")
                embedding.batch_norm = nn.BatchNorm1d(config["encoder_embed_dim"])
            return model
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{path}: impossible HuBERT configuration ({error})") from error


def _shapes(path: str | Path, config: Mapping[str, Any]) -> Shapes:
    return shapes_of(build(path, config).state_dict())


DESCRIPTION = (
    "a HuBERT of {encoder_num_layers} layers of {encoder_embed_dim} dimensions ({extractor_mode})"
)
HUBERT = Architecture("hubert", CONFIG_KEYS, "encoder_num_layers", _shapes, DESCRIPTION, OPTIONAL)


class HubertEncoder(Encoder):
    """The output of one transformer layer; later layers are neither loaded nor run.

    With the published convolutions (window 400, stride 320) an utterance of n samples has
    ``1 + (max(n, 400) - 400) // 320`` frames.

    Args:
        weights: Safetensors file of the encoder's architecture.
        layer: Transformer layer, counted from 1; the paper reads layer 6. None is the last one.
        precision: Type of the matrix products: ``fp32``, or ``bf16`` for speed. The machine never
            chooses it, because the units differ. The encoder's hash depends on it.
        device: Torch device.

    Raises:
        ArtefactError: the file is damaged, or a weight is missing, surplus or of another shape.
        ConfigError: the model has no such layer, or there is no such precision.
    """

    kind = "hubert"
    prefers_batches = True
    every_layer: ClassVar = {"layer": None}
    architecture: ClassVar[Architecture] = HUBERT

    def __init__(
        self,
        *,
        weights: str | Path,
        layer: int | None = 6,
        precision: str = "fp32",
        device: str = "cpu",
    ):
        if precision not in _DTYPES:
            raise ConfigError(
                f"precision: expected one of {', '.join(_DTYPES)}, found {precision!r}"
            )
        self.precision = precision
        self.device = torch.device(device)
        if self.device.type != "cpu":
            self.batch_seconds, self.readers = ACCELERATED_SECONDS, os.cpu_count() or 1
        tensors, config = self.architecture.read(weights, layer)
        model = self._build(weights, config).eval().requires_grad_(False)
        model.load_state_dict(tensors, assign=True)
        convolution = model.encoder.transformer.pos_conv_embed.conv
        if is_parametrized(convolution):
            remove_parametrizations(convolution, "weight")
        self.layer = layer = len(model.encoder.transformer.layers)
        self.n_states = 1 + layer
        self.model = HubertLayers(model.to(self.device), _DTYPES[precision])
        self.normalize_waveform = config["normalize_waveform"]
        self.normalize_epsilon = config.get("normalize_epsilon", OPTIONAL["normalize_epsilon"])
        self.dimension = config["encoder_embed_dim"]
        self.window = self.model.front_end.window
        self.frame_rate = SAMPLE_RATE / self.model.front_end.shift
        self.sha256 = self.identity(weights, layer, precision)

    @classmethod
    def identity(cls, weights: str | Path, layer: int | None, precision: str) -> str:
        """The hash of all that decides the output."""
        identity = {"kind": cls.kind, "weights": sha256_file(weights), "layer": layer}
        if precision != "fp32":
            identity["precision"] = precision
        return sha256_json(identity)

    @staticmethod
    def _build(path: str | Path, config: Mapping[str, Any]) -> Wav2Vec2Model:
        return build(path, config)

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Encoder.encode`; the utterances are concatenated, without padding."""
        if not waveforms:
            return []
        with full_precision():
            return list(self.model([self._prepare(waveform) for waveform in waveforms]))

    @torch.inference_mode()
    def encode_states(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Encoder.encode_states`: the input of the first layer, and all outputs."""
        with full_precision():
            return self.model.states([self._prepare(waveform) for waveform in waveforms])

    def _prepare(self, waveform: Tensor) -> Tensor:
        if self.normalize_waveform:
            waveform = nn.functional.layer_norm(
                waveform, waveform.shape, eps=self.normalize_epsilon
            )
        missing = self.window - len(waveform)
        return nn.functional.pad(waveform, (0, missing)) if missing > 0 else waveform
