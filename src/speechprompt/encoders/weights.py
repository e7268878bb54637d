"""Weights of encoders: safetensors files with a configuration, and the check that both agree."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.backends import cudnn

from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.storage.tensors import (
    Shapes,
    check_shapes,
    read_tensor_header,
    read_tensors,
    shapes_of,
    write_tensors,
)

__all__ = ["Architecture", "check_layers", "full_precision"]

# A context in which cuDNN computes without TF32, whose rounding would change units.
full_precision = partial(
    cudnn.flags, enabled=True, benchmark=False, deterministic=True, allow_tf32=False
)


# More layers than any encoder has: a file that asks for more would keep a program busy.
MOST_LAYERS = 1000


def check_layers(path: str | Path, name: str, count: Any) -> None:
    """Check a number of layers before they are built.

    Raises:
        ArtefactError: it is no such number.
    """
    if type(count) is not int or not 1 <= count <= MOST_LAYERS:
        raise ArtefactError(
            f"{path}: {name}: expected a whole number from 1 to {MOST_LAYERS}, found {count!r:.100}"
        )


@dataclass(frozen=True)
class Architecture:
    """The models of one kind of encoder, in safetensors files that contain their configuration.

    Attributes:
        kind: Kind of the encoder, which the file states.
        keys: Keys of the configuration.
        layers: Key of the number of layers in the configuration.
        shapes: Returns the shape of every weight for a configuration; the file is for messages.
        description: Describes a model by its configuration, for messages.
        optional: Further keys with their defaults. A file has only those of another value.
    """

    kind: str
    keys: frozenset[str]
    layers: str
    shapes: Callable[[str | Path, Mapping[str, Any]], Shapes]
    description: str
    optional: Mapping[str, Any] = field(default_factory=dict)

    def check(self, origin: str | Path, config: Mapping[str, Any], found: Shapes) -> None:
        """Check that weights have the names and shapes of a configuration.

        Raises:
            ArtefactError: the configuration is impossible, or a weight is missing, surplus or of
                another shape.
        """
        lacking = sorted(self.keys - config.keys())
        unknown = sorted(config.keys() - self.keys - self.optional.keys())
        if lacking or unknown:
            raise ArtefactError(
                f"{origin}: {self.kind} configuration lacks {lacking} and has unknown {unknown}"
            )
        expected = self.shapes(origin, config)
        check_shapes(origin, self.description.format(**config), expected=expected, found=found)

    def write(
        self,
        path: str | Path,
        weights: nn.Module | Mapping[str, Tensor],
        config: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Write weights with their configuration.

        Args:
            path: The safetensors file.
            weights: The model or its state dict, with all layers.
            config: The configuration.
            metadata: Further entries, such as the origin of the weights.

        Raises:
            ArtefactError: see :meth:`check`.
        """
        tensors = weights.state_dict() if isinstance(weights, nn.Module) else weights
        self.check(path, config, shapes_of(tensors))
        about = {**(metadata or {}), "kind": self.kind, "config": dict(config)}
        write_tensors(path, tensors, about)

    def read(self, path: str | Path, layer: int | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Check all weights of a file, and read those up to a layer.

        Args:
            path: A file of :meth:`write`.
            layer: The last layer to read, counted from 1; None is the model's last.

        Returns:
            Weights in float32, and the configuration of a model with so many layers.

        Raises:
            ArtefactError: the file is damaged, of another kind, or its weights do not fit its
                configuration.
            ConfigError: the model has no such layer.
        """
        header, metadata = read_tensor_header(path)
        config = metadata.get("config")
        if metadata.get("kind") != self.kind or not isinstance(config, dict):
            raise ArtefactError(
                f"{path}: expected weights of kind {self.kind!r} with their configuration in the "
                f"metadata, found metadata {sorted(metadata)}; import the model, which writes both"
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
