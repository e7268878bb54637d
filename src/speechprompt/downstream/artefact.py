"""Files of downstream models: exactly the trained tensors, and the encoder that they belong to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from speechprompt.downstream.model import DownstreamModel, ModelShape
from speechprompt.encoders import Encoder
from speechprompt.errors import ArtefactError
from speechprompt.runtime.uninitialised import without_weights
from speechprompt.storage.tensors import check_shapes, read_tensors, shapes_of, write_tensors

__all__ = ["load_downstream", "save_downstream"]

_FORMAT = "speechprompt downstream 1"


def save_downstream(
    path: str | Path, model: DownstreamModel, encoder: Encoder, metadata: Mapping[str, Any]
) -> None:
    """Write the trained tensors; the encoder is named by its hash."""
    own = {
        "format": _FORMAT,
        "method": "downstream",
        "encoder": encoder.kind,
        "encoder_sha256": encoder.sha256,
        "trainable_parameters": sum(p.numel() for p in model.trained().values()),
        **model.description(),
    }
    write_tensors(path, model.trained(), {**metadata, **own})


def load_downstream(
    path: str | Path, encoder: Encoder, device: str = "cpu"
) -> tuple[DownstreamModel, dict[str, Any]]:
    """Read a downstream model, to be used with the encoder that it was trained on.

    Args:
        path: the file.
        encoder: the encoder, loaded with every layer.
        device: torch device.

    Returns:
        The frozen model, and the file's metadata.

    Raises:
        ArtefactError: the file is missing or not a downstream model, belongs to another encoder, or
            lacks tensors or has others.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != _FORMAT:
        raise ArtefactError(f"{path}: not a downstream model of this package")
    if metadata["encoder_sha256"] != encoder.sha256:
        raise ArtefactError(
            f"{path}: trained on encoder {metadata['encoder_sha256']} ({metadata['encoder']}), "
            f"found {encoder.sha256} ({encoder.kind}); use the encoder of that training, or train "
            "the downstream model again"
        )
    with without_weights():
        expected = DownstreamModel(ModelShape(**metadata["shape"])).trained()
    what = "the downstream model that it describes"
    check_shapes(path, what, expected=shapes_of(expected), found=shapes_of(tensors))
    model = DownstreamModel(ModelShape(**metadata["shape"]))
    with torch.no_grad():
        for name, parameter in model.trained().items():
            parameter.copy_(tensors[name])
    return model.to(device).eval().requires_grad_(False), metadata
