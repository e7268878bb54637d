"""Scores of a trained downstream model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechprompt.downstream.decoding import decode
from speechprompt.downstream.model import load_downstream
from speechprompt.downstream.recordings import FrameSource, read_labelled_recordings
from speechprompt.evaluation.scored_splits import (
    ScoreFiles,
    check_described,
    prediction_rows,
    write_scores,
)
from speechprompt.evaluation.scores import Metrics
from speechprompt.storage.files import content_of
from speechprompt.storage.hashes import sha256_file
from speechprompt.tasks.labels import restore_labels

__all__ = ["score_downstream"]


def score_downstream(
    task: str,
    model: str | Path,
    encoder: Mapping[str, Any],
    scored: Sequence[Path],
    files: ScoreFiles,
    *,
    device: str = "cpu",
) -> Metrics:
    """Answer the scored splits with a downstream model, and score the answers.

    Args:
        task: name of the task.
        model: trained downstream model.
        encoder: settings of the encoder that it was trained on.
        scored: manifest of each split to score, named after the split, the main one last.
        files: files to write, and the baselines' predictions.
        device: cpu or cuda.

    Raises:
        ArtefactError: the model was trained on another encoder, or a file is damaged.
        CorpusError: a recording cannot be read, or a label column is missing.
    """
    source = FrameSource(encoder, device)
    with content_of(model):
        loaded, described = load_downstream(model, source.encoder, device)
        check_described(described)
        labels = restore_labels(described["answers"])
        hashes = {"encoder": described["encoder_sha256"], "model": sha256_file(model)}
        details = {name: described[name] for name in ("training", "layer_weights")}
    splits = {}
    for path in scored:
        recordings = read_labelled_recordings(path, labels, encode=False)
        found = decode(loaded, source, recordings, description=path.stem)
        answers = [labels.decode(row) for row in found.labels]
        splits[path.stem] = prediction_rows(recordings, found.audio, answers, found.scores)
    return write_scores(files, splits, labels, task, described, details, hashes)
