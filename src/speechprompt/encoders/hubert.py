"""HuBERT (Hsu et al., 2021) in any size: torchaudio's model, weights from a safetensors file.

The file carries its own configuration: the arguments of ``torchaudio.models.wav2vec2_model`` and
``normalize_waveform``.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.utils.parametrize import remove_parametrizations
from torchaudio.models import Wav2Vec2Model, wav2vec2_model

from speechprompt.audio import SAMPLE_RATE
from speechprompt.encoders.base import Encoder
from speechprompt.encoders.weights import check_weights, full_precision, read_config
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.files import sha256_file, write_tensors

__all__ = ["HubertEncoder", "save_hubert", "weight_shapes"]

CONFIG_KEYS = frozenset(inspect.signature(wav2vec2_model).parameters) - {"aux_num_out"} | {
    "normalize_waveform"
}


class HubertEncoder(Encoder):
    """The output of one transformer layer; later layers are neither loaded nor run.

    With the published convolutions (window 400, stride 320) an utterance of n samples has
    ``1 + (max(n, 400) - 400) // 320`` frames.

    Args:
        weights: File written by :func:`save_hubert`.
        layer: Transformer layer, counted from 1; the paper reads layer 6.
        device: Torch device.

    Raises:
        ArtefactError: the file is damaged, or has missing, surplus or misshapen weights.
        ConfigError: the model has no such layer.
    """

    kind = "hubert"

    def __init__(self, *, weights: str | Path, layer: int = 6, device: str = "cpu"):
        self.layer = layer
        self.device = torch.device(device)
        self.model, config = _load_hubert(weights, layer)
        self.model.to(self.device)
        # Measured with HuBERT base on two cores: 16 x real time one by one, 11 x in batches.
        self.prefers_batches = self.device.type != "cpu"
        self.normalize_waveform = config["normalize_waveform"]
        self.dimension = config["encoder_embed_dim"]
        self.window, shift = _window_and_shift(config["extractor_conv_layer_config"])
        self.frame_rate = SAMPLE_RATE / shift
        identity = {"kind": self.kind, "weights": sha256_file(weights), "layer": layer}
        self.sha256 = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Encoder.encode`; the batch is padded, and padding has no influence."""
        if not waveforms:
            return []
        samples = [max(self.window, len(waveform)) for waveform in waveforms]
        batch = torch.zeros(len(samples), max(samples))  # (B, T)
        for row, waveform in zip(batch, waveforms, strict=True):
            if self.normalize_waveform:
                waveform = nn.functional.layer_norm(waveform, waveform.shape)
            row[: len(waveform)] = waveform
        with full_precision(self.device):
            features, n_frames = self._convolve(batch.to(self.device), samples)  # (B, F, C)
            lengths = None if len(set(n_frames)) == 1 else torch.tensor(n_frames).to(self.device)
            # Given lengths, torchaudio zeroes padded frames before the positional convolution
            # and hides them from attention.
            frames = self.model.encoder.extract_features(features, lengths)[-1].cpu()  # (B, F, D)
        return [frame[:length].clone() for frame, length in zip(frames, n_frames, strict=True)]

    def _convolve(self, batch: Tensor, lengths: list[int]) -> tuple[Tensor, list[int]]:
        """The convolutions, with GroupNorm statistics over each utterance's own samples.

        Valid outputs of an unpadded convolution see valid inputs only, so that the norm over time
        (HuBERT base, first layer) is the one place where padding reaches them.
        """
        x = batch[:, None]  # (B, 1, T)
        for block in self.model.feature_extractor.conv_layers:
            x = block.conv(x)
            lengths = [(length - block.kernel_size) // block.stride + 1 for length in lengths]
            if isinstance(block.layer_norm, nn.GroupNorm) and len(set(lengths)) > 1:
                for row, length in enumerate(lengths):
                    valid = x[row : row + 1, :, :length]
                    valid.copy_(block.layer_norm(valid))
            elif block.layer_norm is not None:
                x = block.layer_norm(x)
            x = nn.functional.gelu(x)
        return x.transpose(1, 2), lengths


def save_hubert(
    path: str | Path,
    weights: nn.Module | Mapping[str, Tensor],
    config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a model as the file that :class:`HubertEncoder` reads.

    Args:
        path: The safetensors file.
        weights: torchaudio's model or its state dict, all layers.
        config: All arguments of ``torchaudio.models.wav2vec2_model`` but ``aux_num_out``, and
            ``normalize_waveform``: whether the model wants each waveform at mean 0 and variance 1
            (fairseq's ``task.normalize``; false for base, true for large).
        metadata: Further entries, such as where the weights are from.

    Raises:
        ArtefactError: weights and configuration do not fit each other.
    """
    tensors = weights.state_dict() if isinstance(weights, nn.Module) else weights
    config = dict(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_weights(path, expected=weight_shapes(path, config), found=shapes)
    own = {"kind": HubertEncoder.kind, "config": config}
    write_tensors(path, tensors, {**(metadata or {}), **own})


def weight_shapes(path: str | Path, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that a configuration asks for.

    Raises:
        ArtefactError: no configuration of :func:`save_hubert`; ``path`` names the file.
    """
    return _shapes(_build(path, config))


def _load_hubert(path: str | Path, layer: int) -> tuple[Wav2Vec2Model, dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as stream:
            config = read_config(path, stream.metadata() or {}, kind=HubertEncoder.kind)
            found = {name: tuple(stream.get_slice(name).get_shape()) for name in stream.keys()}  # noqa: SIM118
            check_weights(path, expected=weight_shapes(path, config), found=found)
            n_layers = config["encoder_num_layers"]
            if not 1 <= layer <= n_layers:
                raise ConfigError(f"layer: expected 1 to {n_layers} for {path}, found {layer}")
            model = _build(path, {**config, "encoder_num_layers": layer})
            tensors = {name: stream.get_tensor(name).float() for name in _shapes(model)}
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path}: not a readable safetensors file ({error})") from error
    model.load_state_dict(tensors, strict=True, assign=True)
    remove_parametrizations(model.encoder.transformer.pos_conv_embed.conv, "weight")
    return model.eval().requires_grad_(False), config


def _build(path: str | Path, config: Mapping[str, Any]) -> Wav2Vec2Model:
    """Build the model without memory for its weights."""
    if set(config) != CONFIG_KEYS:
        raise ArtefactError(
            f"{path}: HuBERT configuration lacks {sorted(CONFIG_KEYS - set(config))} and has "
            f"unknown {sorted(set(config) - CONFIG_KEYS)}"
        )
    arguments = {key: value for key, value in config.items() if key != "normalize_waveform"}
    try:
        _window_and_shift(config["extractor_conv_layer_config"])
        with torch.device("meta"):
            return wav2vec2_model(**arguments, aux_num_out=None)
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{path}: impossible HuBERT configuration ({error})") from error


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _window_and_shift(conv_layers: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Samples that one frame sees, and samples from one frame to the next."""
    window = 1
    for _, kernel, stride in reversed(conv_layers):
        window = (window - 1) * stride + kernel
    return window, math.prod(stride for _, _, stride in conv_layers)
