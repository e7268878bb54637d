"""What encoders with weights share: files that describe themselves, strict checks, precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.storage.tensors import (
    Shapes,
    check_shapes,
    read_tensor_header,
    read_tensors,
    shapes_of,
    write_tensors,
)

__all__ = ["Architecture", "full_precision"]


@dataclass(frozen=True)
class Architecture:
    """The models of one kind of encoder; their safetensors files carry a configuration.

    Attributes:
        kind: Kind of the encoder, as the file states it.
        layers: Key of the configuration that holds the number of layers.
        shapes: Gives the shape of every weight of a configuration; the file is for messages.
        describe: Names the model of a configuration, for messages.
    """

    kind: str
    layers: str
    shapes: Callable[[str | Path, Mapping[str, Any]], Shapes]
    describe: Callable[[Mapping[str, Any]], str]

    def check(self, origin: str | Path, config: Mapping[str, Any], found: Shapes) -> None:
        """Compare weights with those of a configuration.

        Raises:
            ArtefactError: the configuration is impossible, or weights are missing, surplus or of
                another shape.
        """
        expected = self.shapes(origin, config)
        check_shapes(origin, self.describe(config), expected=expected, found=found)

    def write(
        self,
        path: str | Path,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Write weights of all layers with their configuration.

        Raises:
            ArtefactError: see :meth:`check`.
        """
        config = dict(config)
        self.check(path, config, shapes_of(weights))
        write_tensors(path, weights, {**(metadata or {}), "kind": self.kind, "config": config})

    def read(self, path: str | Path, layer: int | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read the weights up to a layer, after all of the file's have been checked.

        Args:
            path: File that :meth:`write` wrote.
            layer: Last layer wanted, counted from 1; None is the model's last.

        Returns:
            Weights in float32, and the configuration of a model of so many layers.

        Raises:
            ArtefactError: the file is damaged, of another kind, or has other weights than its
                configuration.
            ConfigError: the model has no such layer.
        """
        header, metadata = read_tensor_header(path)
        config = metadata.get("config")
        if metadata.get("kind") != self.kind or not isinstance(config, dict):
            raise ArtefactError(
                f"{path}: expected weights of kind {self.kind!r} with their configuration in the "
                f"metadata, found metadata {sorted(metadata)}; write the file with "
                f"`save_{self.kind}`"
            )
        found = {name: tuple(tensor["shape"]) for name, tensor in header.items()}
        self.check(path, config, found)
        n_layers = config[self.layers]
        layer = n_layers if layer is None else layer
        if not 1 <= layer <= n_layers:
            raise ConfigError(f"layer: expected 1 to {n_layers} for {path}, found {layer}")
        config[self.layers] = layer
        tensors, _ = read_tensors(path, names=self.shapes(path, config))
        return {name: tensor.float() for name, tensor in tensors.items()}, config


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Keep TF32, which shifts frames across unit boundaries, out of cuDNN."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield
