"""Decoding: answers of a trained downstream model to recordings."""

from dataclasses import dataclass

import numpy as np
import torch

from speechprompt.downstream.model import DownstreamModel
from speechprompt.downstream.recordings import FrameSource, Recordings
from speechprompt.runtime.progress import progress

__all__ = ["Hypotheses", "decode"]


@dataclass(frozen=True)
class Hypotheses:
    """The best answer to each utterance, in their order.

    Attributes:
        labels: label indices of each answer.
        scores: log-probability of each answer, float64. For a classification it is that of its
            labels, for a generation that of the best path of frames (greedy CTC, without a language
            model).
        audio: hash of each utterance's samples, uint8 ``[16]``, equal where the audio is.
    """

    labels: list[list[int]]
    scores: np.ndarray
    audio: list[np.ndarray]


@torch.no_grad()
def decode(
    model: DownstreamModel,
    source: FrameSource,
    recordings: Recordings,
    *,
    batch_size: int = 32,
    description: str = "answers",
) -> Hypotheses:
    """Find the best answers to utterances; memory does not grow with their number.

    Args:
        model: the trained model, in evaluation mode.
        source: the encoder that it was trained on.
        recordings: the utterances.
        batch_size: number of utterances decoded at once.
        description: text before the progress bar.

    Raises:
        CorpusError: a recording cannot be read any more.
    """
    labels: list[list[int]] = []
    scores: list[float] = []
    audio: list[np.ndarray] = []
    starts = range(0, len(recordings), batch_size)
    for start in progress(starts, description, unit="batch"):
        rows = range(start, min(start + batch_size, len(recordings)))
        frames = source(recordings, rows)
        found = model.head.answers(model(frames.states, frames.lengths), frames.lengths)
        labels += found[0]
        scores += found[1]
        audio += [np.frombuffer(digest, np.uint8) for digest in frames.digests]
    return Hypotheses(labels, np.array(scores), audio)
