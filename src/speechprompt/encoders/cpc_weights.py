"""The weights of CPC: their published names and their shapes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechprompt.encoders.weights import Architecture
from speechprompt.errors import ArtefactError
from speechprompt.storage.tensors import Shapes

__all__ = ["AR_PREFIX", "CONFIG_KEYS", "CONVOLUTIONS", "CPC", "convolution_names"]

CONFIG_KEYS = ("hiddenEncoder", "hiddenGar", "nLevelsGRU")
# Kernel, stride and padding of each convolution. A frame at sample 0 depends on the samples -153 to
# 311, so that only the first and the last frame of a chunk depend on padding.
CONVOLUTIONS = ((10, 5, 3), (8, 4, 2), (4, 2, 1), (4, 2, 1), (4, 2, 1))
AR_PREFIX = "gAR.baseNet."


def convolution_names(number: int) -> tuple[str, ...]:
    """Names of weight and bias of a convolution, and of its normalisation over channels."""
    modules = (f"conv{number}", f"batchNorm{number}")
    return tuple(f"{module}.{kind}" for module in modules for kind in ("weight", "bias"))


def _shapes(path: str | Path, config: Mapping[str, Any]) -> Shapes:
    """Published names and shapes of all weights.

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


# The configuration has the keys CONFIG_KEYS.
CPC = Architecture("cpc", "nLevelsGRU", _shapes, _describe)
