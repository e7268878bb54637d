"""SUPERB's heads: mean pooling for classification, BLSTM and CTC for generation."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

__all__ = ["Head", "HeadLoss", "PooledHead", "RecurrentHead", "needed_frames"]


# Label indices of each answer, and its log-probability.
Answers = tuple[list[list[int]], list[float]]


class HeadLoss(NamedTuple):
    """The loss of B utterances.

    Attributes:
        total: () summed negative log-likelihood of the answers in nats, differentiable.
        n_labels: number of labels in these answers.
        correct: (B,) whether the best answer is the reference.
        short: (B,) whether an utterance has too few frames for its answer; it has no part in
            ``total`` and ``n_labels``.
    """

    total: Tensor
    n_labels: int
    correct: Tensor
    short: Tensor


class PooledHead(nn.Module):
    """A linear layer, the mean over time, and a linear layer with a softmax per label column.

    Args:
        dim: width D of a frame.
        allowed: label indices of each column, one after the other.
        hidden: width between the layers.
    """

    def __init__(self, dim: int, allowed: Sequence[Sequence[int]], hidden: int) -> None:
        super().__init__()
        self.columns = [len(column) for column in allowed]
        self.project = nn.Linear(dim, hidden)
        self.classify = nn.Linear(hidden, sum(self.columns))

    def forward(self, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """(N, D) to log-probabilities (B, n_labels) within each column."""
        # Projecting the mean gives the mean of the projections, for a fraction of the work.
        means = torch.stack([part.mean(0) for part in frames.split(list(lengths))])
        scores = self.classify(self.project(means))
        return torch.cat([part.log_softmax(1) for part in scores.split(self.columns, dim=1)], dim=1)

    def loss(
        self, scores: Tensor, lengths: Sequence[int], labels: Sequence[Sequence[int]]
    ) -> HeadLoss:
        """Cross-entropies of all columns, and whether all labels are correct."""
        target = torch.tensor(labels, device=scores.device)  # (B, columns)
        total = -scores.gather(1, target).sum()
        correct = (self._best(scores) == target).all(1).cpu()
        short = torch.zeros(len(lengths), dtype=torch.bool)
        return HeadLoss(total, target.numel(), correct, short)

    def answers(self, scores: Tensor, lengths: Sequence[int]) -> Answers:
        """The best label of every column, and the log-probability of them all."""
        best = self._best(scores)
        return best.tolist(), scores.gather(1, best).sum(1, dtype=torch.float64).tolist()

    def _best(self, scores: Tensor) -> Tensor:
        best, start = [], 0
        for part in scores.split(self.columns, dim=1):
            best.append(start + part.argmax(1))
            start += part.shape[1]
        return torch.stack(best, dim=1)


class RecurrentHead(nn.Module):
    """A linear layer, bidirectional LSTM layers, and a linear layer to the labels and CTC's blank.

    An utterance's scores do not depend on the batch. Each direction runs over rows with padding at
    the end, the backward direction over each utterance turned round. On processors this is twice as
    fast as packed sequences.

    Args:
        dim: width D of a frame.
        n_labels: number of labels; the blank comes last.
        hidden: width of the projection and of each direction.
        layers: number of LSTM layers.
        dropout: dropout on the output of every layer, as in s3prl.
    """

    def __init__(self, dim: int, n_labels: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.blank = n_labels
        self.project = nn.Linear(dim, hidden)
        widths = [hidden] + [2 * hidden] * (layers - 1)
        self.forward_lstms = nn.ModuleList(nn.LSTM(width, hidden) for width in widths)
        self.backward_lstms = nn.ModuleList(nn.LSTM(width, hidden) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(2 * hidden, n_labels + 1)

    def forward(self, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """(N, D) to log-probabilities (N, n_labels + 1) of every frame."""
        rows = self.project(frames)
        orders = [order.to(rows.device) for order in _orders(lengths)]
        for lstms in zip(self.forward_lstms, self.backward_lstms, strict=True):
            outputs = [
                _run(lstm, rows, order, len(lengths))
                for lstm, order in zip(lstms, orders, strict=True)
            ]
            rows = self.dropout(torch.cat(outputs, dim=1))
        return self.classify(rows).log_softmax(1)

    def loss(
        self, scores: Tensor, lengths: Sequence[int], labels: Sequence[Sequence[int]]
    ) -> HeadLoss:
        """CTC (Graves et al. 2006), and whether greedy decoding gives the references."""
        short = torch.tensor(
            [length < needed_frames(row) for length, row in zip(lengths, labels, strict=True)]
        )
        # On the processor: on a GPU its gradient is not the same in every run.
        each = F.ctc_loss(
            pad_sequence(list(scores.cpu().split(list(lengths)))),  # (T, B, C)
            torch.tensor([label for row in labels for label in row], dtype=torch.long),
            torch.tensor(list(lengths)),
            torch.tensor([len(row) for row in labels]),
            blank=self.blank,
            reduction="none",
            zero_infinity=True,  # as SUPERB: an answer that needs more frames teaches nothing
        )
        n_labels = sum(len(row) for row, out in zip(labels, short, strict=True) if not out)
        answers, _ = self.answers(scores, lengths)
        correct = torch.tensor([a == list(row) for a, row in zip(answers, labels, strict=True)])
        return HeadLoss(each[~short].sum(), n_labels, correct, short)

    def answers(self, scores: Tensor, lengths: Sequence[int]) -> Answers:
        """Labels of the best path, without repeats and blanks, and the path's log-probability."""
        best, path = (part.cpu() for part in scores.max(1))
        answers = []
        for part in path.split(list(lengths)):
            kept = part.unique_consecutive()
            answers.append(kept[kept != self.blank].tolist())
        return answers, [part.sum(dtype=torch.float64).item() for part in best.split(list(lengths))]


Head = PooledHead | RecurrentHead


def needed_frames(labels: Sequence[int]) -> int:
    """Number of frames that CTC needs: one per label, and a blank between equal labels."""
    return len(labels) + sum(a == b for a, b in pairwise(labels))


def _orders(lengths: Sequence[int]) -> list[Tensor]:
    """Row numbers of two padded batches (T, B): utterances in order, and turned round; N pads."""
    rows = list(torch.arange(sum(lengths)).split(list(lengths)))
    turned = [row.flip(0) for row in rows]
    return [pad_sequence(each, padding_value=sum(lengths)) for each in (rows, turned)]


def _run(lstm: nn.Module, rows: Tensor, order: Tensor, n_utterances: int) -> Tensor:
    """Run one direction of one layer over rows (N, D); the output (N, hidden) has their order."""
    filled = F.pad(rows, (0, 0, 0, 1))  # a row of zeros for the padding
    padded = filled.index_select(0, order.flatten()).view(-1, n_utterances, rows.shape[1])
    output = lstm(padded)[0].flatten(0, 1)
    places = torch.empty(len(filled), dtype=torch.long, device=rows.device)
    places[order.flatten()] = torch.arange(order.numel(), device=rows.device)
    return output.index_select(0, places[:-1])
