"""A weighted sum of an encoder's layers and SUPERB's heads on top (Yang et al. 2021, 2105.01051).

The weights of the sum are a softmax of one trained number per layer. Classification: a linear layer
to 256 numbers, their mean over time, a linear layer to the labels. Generation: a linear layer, two
bidirectional LSTM layers of 1,024 and a linear layer to the labels and CTC's blank. On HuBERT base
they have 0.2 and 43 million parameters, as the prompt paper (arXiv 2203.16773) says. Sizes that are
not in the papers are those of SUPERB's toolkit s3prl: ``speech_commands``, ``fluent_commands``,
``asr`` and ``ctc/snips`` under ``s3prl/downstream``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechprompt.downstream.heads import Head, PooledHead, RecurrentHead

__all__ = ["DownstreamModel", "LayerSum", "ModelShape"]


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
        alone = self.shape.n_states == 1
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if not (alone and name == "layer_sum.scores")
        }

    def description(self) -> dict[str, object]:
        """The shape and the layers' weights, for the metadata of a file."""
        weights = self.layer_sum.weights.detach().tolist()
        return {"shape": asdict(self.shape), "layer_weights": [round(w, 6) for w in weights]}
