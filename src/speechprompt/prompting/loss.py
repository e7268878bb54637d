"""What answers are predicted from, and their loss under teacher forcing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

__all__ = ["Reading", "TeacherForcingLoss", "cross_entropy"]


class Reading(NamedTuple):
    """What the answers to B utterances are predicted from.

    Attributes:
        hidden: (A, D) hidden states at the separators and, where answers were read, behind each
            token of them, utterance by utterance; with a learnable verbalizer and query rows
            (B, R, D), those of the rows and of the separator.
        lines, places: (A,) the utterance of each, and its position in the answer.
    """

    hidden: Tensor
    lines: Tensor
    places: Tensor


@dataclass(frozen=True)
class TeacherForcingLoss:
    """The loss of the answers to B utterances under teacher forcing.

    Attributes:
        total: () summed cross-entropy of the predicted tokens in nats, differentiable.
        n_tokens: number of these tokens.
        correct: (B,) whether the best allowed label is correct at every position; exactly then
            greedy decoding gives the reference.
    """

    total: Tensor
    n_tokens: int
    correct: Tensor


def cross_entropy(scores: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Summed cross-entropy () in nats.

    Args:
        scores: (N, C); -inf is not allowed.
        targets: (N,) the right ones; -100 is left out.
        smoothing: share of each target that is spread over all that is allowed.
    """
    total = F.cross_entropy(scores, targets, reduction="sum")
    if not smoothing:
        return total
    allowed = scores > float("-inf")
    found = scores.log_softmax(1).where(allowed, 0.0).sum(1) / allowed.sum(1)
    return (1 - smoothing) * total - smoothing * found.where(targets >= 0, 0.0).sum()
