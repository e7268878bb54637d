"""SpeechPrompt: prompt tuning of a frozen generative spoken language model.

Method: "An Exploration of Prompt Tuning on Generative Spoken Language Model for Speech Processing
Tasks" (Chang et al., Interspeech 2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from speechprompt.predict.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["__version__", "load_predictor"]


def load_predictor(
    *folders: str | Path,
    weights: str | Path | None = None,
    device: str = "auto",
    threshold: float = 0.0,
) -> Predictor:
    """Load tasks of a finished run to answer new audio.

    Example::

        from speechprompt import load_predictor

        answers = load_predictor("results/ks").predict(["a.wav", "b.flac"])

    Args:
        folders: folders of the tasks, such as ``results/ks``.
        weights: the encoder's weights, if they have been moved.
        device: cpu, cuda or auto.
        threshold: an answer with a lower probability is ``none``.

    Raises:
        ArtefactError: a file is missing, or is not the one of the training.
        ConfigError: there is no folder, one is given twice, or the threshold is no probability.
    """
    from speechprompt.predict.predictor import Predictor

    return Predictor.load(*folders, weights=weights, device=device, threshold=threshold)
