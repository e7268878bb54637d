"""The weights of CPC under their published names, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechprompt.encoders.weights import Architecture
from speechprompt.errors import ArtefactError
from speechprompt.storage.tensors import Shapes

__all__ = ["AR_PREFIX", "CONFIG_KEYS", "CONVOLUTIONS", "CPC", "convolution_names", "save_cpc"]

CONFIG_KEYS = ("hiddenEncoder", "hiddenGar", "nLevelsGRU")
# Kernel, stride and padding of each convolution: together a frame sees samples -153 to 311 around
# its own, so that of any cut-out only the first and the last frame see padding.
CONVOLUTIONS = ((10, 5, 3), (8, 4, 2), (4, 2, 1), (4, 2, 1), (4, 2, 1))
AR_PREFIX = "gAR.baseNet."


def save_cpc(
    path: str | Path,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a model as the file that :class:`speechprompt.encoders.cpc.CpcEncoder` reads.

    Args:
        path: The safetensors file.
        weights: All layers, under the published names: ``gEncoder.conv0.weight``,
            ``gEncoder.batchNorm0.weight``, …, ``gAR.baseNet.weight_ih_l0``, ….
        config: ``hiddenEncoder``, ``hiddenGar`` and ``nLevelsGRU``.
        metadata: Further entries, such as where the weights are from.

    Raises:
        ArtefactError: weights and configuration do not fit each other.
    """
    CPC.write(path, weights, config, metadata)


def convolution_names(number: int) -> tuple[str, ...]:
    """Weight and bias of a convolution, then of its normalisation (which is no batch norm)."""
    modules = (f"conv{number}", f"batchNorm{number}")
    return tuple(f"{module}.{kind}" for module in modules for kind in ("weight", "bias"))


def _shapes(path: str | Path, config: Mapping[str, Any]) -> Shapes:
    """Names, as published, and shapes of all weights.

    Raises:
        ArtefactError: the configuration has other keys, or values that are not whole numbers >= 1.
    """
    if set(config) != set(CONFIG_KEYS):
        raise ArtefactError(
            f"{path}: CPC configuration lacks {sorted(set(CONFIG_KEYS) - set(config))} and has "
            f"unknown {sorted(set(config) - set(CONFIG_KEYS))}"
        )
    for key, value in config.items():
        if type(value) is not int or value < 1:
            raise ArtefactError(
                f"{path}: CPC configuration {key}: expected a whole number >= 1, found {value!r}"
            )
    channels, hidden, n_layers = (config[key] for key in CONFIG_KEYS)
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (kernel, _, _) in enumerate(CONVOLUTIONS):
        n_inputs = channels if number else 1
        published = ((channels, n_inputs, kernel), (channels,), *[(1, channels, 1)] * 2)
        for name, shape in zip(convolution_names(number), published, strict=True):
            shapes[f"gEncoder.{name}"] = shape
    for level in range(n_layers):
        n_inputs = hidden if level else channels
        shapes[f"{AR_PREFIX}weight_ih_l{level}"] = (4 * hidden, n_inputs)
        shapes[f"{AR_PREFIX}weight_hh_l{level}"] = (4 * hidden, hidden)
        shapes[f"{AR_PREFIX}bias_ih_l{level}"] = (4 * hidden,)
        shapes[f"{AR_PREFIX}bias_hh_l{level}"] = (4 * hidden,)
    return shapes


def _describe(config: Mapping[str, Any]) -> str:
    return f"a CPC of {config['nLevelsGRU']} LSTM layers of {config['hiddenGar']} numbers"


CPC = Architecture("cpc", "nLevelsGRU", _shapes, _describe)
