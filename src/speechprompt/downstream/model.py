"""A weighted sum of an encoder's layers and SUPERB's heads on top (Yang et al. 2021, 2105.01051).

The weights of the sum are a softmax of one trained number per layer. Classification: a linear layer
to 256 numbers, their mean over time, a linear layer to the labels. Generation: a linear layer, two
bidirectional LSTM layers of 1,024 and a linear layer to the labels and CTC's blank. On HuBERT base
they have 0.2 and 43 million parameters, as the prompt paper (arXiv 2203.16773) says. Sizes that are
not in the papers are those of SUPERB's toolkit s3prl: ``speech_commands``, ``fluent_commands``,
``asr`` and ``ctc/snips`` under ``s3prl/downstream``.

A file has exactly the trained tensors, and names the encoder that they belong to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechprompt.downstream.heads import Head, PooledHead, RecurrentHead
from speechprompt.encoders import Encoder
from speechprompt.errors import ArtefactError
from speechprompt.runtime.uninitialised import without_weights
from speechprompt.storage.tensors import check_shapes, read_tensors, shapes_of, write_tensors

__all__ = ["DownstreamModel", "LayerSum", "ModelShape", "load_downstream", "save_downstream"]

_FORMAT = "speechprompt downstream 1"


@dataclass(frozen=True)
class ModelShape:
    """The shape of a downstream model, which its file keeps.

    Attributes:
        n_states: number S of the representations of a frame that are summed.
        dim: width D of each.
        n_labels: number of label indices.
        allowed: label indices allowed at each position of an answer; None for generation.
        hidden: width of the head.
        layers: number of LSTM layers; classification has none.
        dropout: dropout on the output of every LSTM layer.
        normalize: take each representation to mean 0 and variance 1 before the sum.
    """

    n_states: int
    dim: int
    n_labels: int
    allowed: list[list[int]] | None
    hidden: int
    layers: int = 2
    dropout: float = 0.2
    normalize: bool = False


class LayerSum(nn.Module):
    """The weighted sum of an encoder's layers; the weights are a softmax of trained numbers.

    Args:
        n_states: number S of the representations.
        normalize: take each representation to mean 0 and variance 1 first, which s3prl has as
            ``--upstream_feature_normalize`` and SUPERB does without. Where each layer adds to the
            one before (HuBERT large and nano), the numbers grow from layer to layer.
    """

    def __init__(self, n_states: int, *, normalize: bool = False) -> None:
        super().__init__()
        self.normalize = normalize
        self.scores = nn.Parameter(torch.zeros(n_states))

    @property
    def weights(self) -> Tensor:
        """The weight of each layer (S,)."""
        return self.scores.softmax(0)

    def forward(self, states: Tensor) -> Tensor:
        """Sum representations (S, N, D) to (N, D)."""
        if self.normalize:
            states = F.layer_norm(states, states.shape[-1:])
        if len(states) == 1:
            return states[0]
        return torch.tensordot(self.weights, states, dims=1)


class DownstreamModel(nn.Module):
    """What is trained: the weighted sum and the head, without the encoder.

    Args:
        shape: shape of both.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.layer_sum = LayerSum(shape.n_states, normalize=shape.normalize)
        self.head: Head
        if shape.allowed is None:
            self.head = RecurrentHead(
                shape.dim, shape.n_labels, shape.hidden, shape.layers, shape.dropout
            )
        else:
            self.head = PooledHead(shape.dim, shape.allowed, shape.hidden)

    def forward(self, states: Tensor, lengths: Sequence[int]) -> Tensor:
        """Log-probabilities of the labels.

        Args:
            states: (S, N, D), the frames of all utterances one after the other.
            lengths: number of frames of each utterance.

        Returns:
            For a classification (B, n_labels), within each column; for a generation
            (N, n_labels + 1), with the blank last.
        """
        return self.head(self.layer_sum(states), lengths)

    def trained(self) -> dict[str, nn.Parameter]:
        """The trained parameters by name; a single layer needs no weight."""
        trained = dict(self.named_parameters())
        if self.shape.n_states == 1:
            del trained["layer_sum.scores"]
        return trained

    def description(self) -> dict[str, object]:
        """The shape and the layers' weights, for the metadata of a file."""
        weights = self.layer_sum.weights.detach().tolist()
        return {"shape": asdict(self.shape), "layer_weights": [round(w, 6) for w in weights]}


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
