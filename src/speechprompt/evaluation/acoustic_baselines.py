"""Baselines of a classification on MFCC: no encoder is trained, and there are no units and no LM.

Where a prompt is not better than these, nothing is gained by encoder, units and unit LM together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from speechprompt.config.tasks import AcousticBaseline
from speechprompt.downstream.recordings import FrameSource, Recordings, read_labelled_recordings
from speechprompt.evaluation.scored_splits import ScoreFiles, prediction_rows, write_scores
from speechprompt.evaluation.scores import Metrics
from speechprompt.runtime.progress import progress
from speechprompt.storage.parquet import read_parquet
from speechprompt.tasks.classification import COLUMN_SEPARATOR, split_answer
from speechprompt.tasks.examples import draw_few
from speechprompt.tasks.labels import define_labels

__all__ = ["fit_acoustic_baseline", "warped_distances"]

GRID_C = (0.001, 0.01, 0.1, 1.0)
MAX_ITERATIONS = 3000
# The nearest is sought among so many utterances, drawn evenly over the answers.
MAX_EXAMPLES = 1000
# Distances of pairs of frames that are in memory at a time.
MAX_PAIRS = 20_000_000
BATCH = 64
# Answers to each split as text.
Answers: TypeAlias = dict[str, list[str]]


@dataclass(frozen=True)
class Spoken:
    """Utterances of one split with their frames.

    Attributes:
        recordings: names and references.
        frames: (N_i, 39) MFCC with deltas of each utterance, 50 a second.
        audio: hash of each utterance's samples, by which repeats are found.
    """

    recordings: Recordings
    frames: list[np.ndarray]
    audio: list[np.ndarray]

    @classmethod
    def read(cls, recordings: Recordings, source: FrameSource, split: str) -> Self:
        """Read recordings and compute their frames."""
        frames: list[np.ndarray] = []
        audio: list[np.ndarray] = []
        starts = range(0, len(recordings), BATCH)
        for start in progress(starts, f"MFCC of {split}", unit="batch"):
            rows = range(start, min(start + BATCH, len(recordings)))
            found = source(recordings, rows)
            ends = np.cumsum(found.lengths)
            frames += np.split(found.states[0].numpy(), ends[:-1])
            audio += [np.frombuffer(digest, np.uint8) for digest in found.digests]
        return cls(recordings, frames, audio)


def fit_acoustic_baseline(
    task: str,
    model: AcousticBaseline,
    train: str | Path,
    dev: str | Path,
    scored: Sequence[Path],
    columns: list[str],
    files: ScoreFiles,
    utterances: int | None = None,
    seed: int = 0,
) -> Metrics:
    """Fit a baseline of a classification on MFCC and score it.

    ``mfcc_mean`` is a logistic regression on the mean and the standard deviation of each dimension
    over the utterance, one for each label column; dev chooses its penalty and is learnt from in the
    end. ``mfcc_dtw`` answers as the utterance of train does that is nearest by dynamic time
    warping (Sakoe and Chiba, 1978), after each dimension was normalised over the utterance.

    Args:
        task: name of the task.
        model: ``mfcc_mean`` or ``mfcc_dtw``.
        train: manifest of the train split.
        dev: manifest of the split by which settings are chosen.
        scored: manifest of each split to score, named after the split, the main one last.
        columns: label columns.
        files: files to write.
        utterances: number of train utterances to learn from, as ``training.utterances`` of a prompt
            has it; nothing is learnt from dev then.
        seed: seed of their draw.

    Raises:
        ArtefactError: a manifest is missing or damaged.
        CorpusError: a recording cannot be read, train has fewer utterances, or a label column is
            missing.
    """
    labels = define_labels(read_parquet(train), "classification", columns, train)
    source = FrameSource({"kind": "mfcc", "cmvn": model == "mfcc_dtw"}, "cpu")

    def read(manifest: str | Path, n: int | None = None) -> Spoken:
        recordings = read_labelled_recordings(manifest, labels, encode=False)
        if n is not None:
            recordings = recordings.take(draw_few(recordings.references, n, seed))
        return Spoken.read(recordings, source, Path(manifest).stem)

    learnt = read(train, utterances)
    held_out = read(dev)
    splits = {path.stem: read(path) for path in scored}
    with threadpool_limits(1):
        if model == "mfcc_mean":
            details, answers = _by_means(
                learnt, held_out, splits, len(columns), learns_dev=utterances is None
            )
        else:
            details, answers = _by_nearest(learnt, splits, seed)
    rows = {
        split: prediction_rows(
            spoken.recordings, spoken.audio, answers[split], [0.0] * len(answers[split])
        )
        for split, spoken in splits.items()
    }
    return write_scores(files, rows, labels, task, {"method": model}, details)


def _by_means(
    train: Spoken, dev: Spoken, scored: dict[str, Spoken], n_columns: int, *, learns_dev: bool
) -> tuple[dict[str, Any], Answers]:
    """Answer by logistic regression on means and deviations."""
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def model(c: float, n_values: int) -> Any:
        if n_values == 1:  # of few utterances
            return DummyClassifier()
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=MAX_ITERATIONS))

    inputs = [_moments(spoken) for spoken in (train, dev)]
    values = [_columns(spoken, n_columns) for spoken in (train, dev)]
    last = 2 if learns_dev else 1
    chosen, accuracies = [], []
    answers: dict[str, list[np.ndarray]] = {split: [] for split in scored}
    for learnt, wanted in zip(*(rows.T for rows in values), strict=True):
        right = {}
        for c in GRID_C:
            guesses = model(c, len(set(learnt))).fit(inputs[0], learnt).predict(inputs[1])
            right[c] = float((guesses == wanted).mean())
        best = max(GRID_C, key=right.__getitem__)
        both = np.concatenate([learnt, wanted][:last])
        fitted = model(best, len(set(both))).fit(np.concatenate(inputs[:last]), both)
        chosen.append(best)
        accuracies.append(right[best])
        for split, spoken in scored.items():
            answers[split].append(fitted.predict(_moments(spoken)))
    details = {
        "model": "logistic regression on means and deviations of MFCC",
        "C": chosen,
        "dev_accuracy": accuracies,
    }
    return details, {
        split: [COLUMN_SEPARATOR.join(row) for row in zip(*columns, strict=True)]
        for split, columns in answers.items()
    }


def _moments(spoken: Spoken) -> np.ndarray:
    """Mean and standard deviation of each dimension, (utterances, 78)."""
    return np.stack([np.concatenate((f.mean(0), f.std(0))) for f in spoken.frames])


def _columns(spoken: Spoken, n_columns: int) -> np.ndarray:
    """The value of each label column, (utterances, columns)."""
    return np.array([split_answer(answer, n_columns) for answer in spoken.recordings.references])


def _by_nearest(
    train: Spoken, scored: dict[str, Spoken], seed: int
) -> tuple[dict[str, Any], Answers]:
    """Answer as the nearest utterance of train does."""
    references = train.recordings.references
    kept = draw_few(references, min(MAX_EXAMPLES, len(references)), seed)
    examples = [train.frames[i] for i in kept]
    answers = {}
    for split, spoken in scored.items():
        asked = progress(spoken.frames, f"nearest of train: {split}", unit="utt")
        nearest = [kept[int(warped_distances(frames, examples).argmin())] for frames in asked]
        answers[split] = [references[i] for i in nearest]
    details = {"model": "nearest utterance by dynamic time warping", "n_examples": len(kept)}
    return details, answers


def warped_distances(frames: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Distances of an utterance to others by dynamic time warping.

    A path goes from the pair of first frames to the pair of last frames, one frame further in
    either utterance or in both. A step in both counts twice, so that every path has the same
    weight, which the sum of Euclidean distances is divided by (the symmetric form of Sakoe and
    Chiba, 1978).

    Args:
        frames: (n, D) frames of the utterance.
        others: (m_i, D) frames of the others.

    Returns:
        (len(others),) distances.
    """
    order = sorted(range(len(others)), key=lambda i: len(others[i]))
    distances = np.empty(len(others))
    while order:
        # Together, with others of similar length.
        longest = len(others[order[-1]])
        size = min(len(frames), longest) * (len(frames) + longest)
        together = order[-max(1, MAX_PAIRS // size) :]
        del order[-len(together) :]
        distances[together] = _warped(frames, [others[i] for i in together])
    return distances


def _warped(frames: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Distances to some others at once, along the anti-diagonals of all tables of pairs."""
    n, lengths = len(frames), np.array([len(other) for other in others])
    m = lengths.max()
    # Anti-diagonal k has the pairs of frames whose numbers have the sum k; entry i is the pair with
    # frame i of the shorter side, which bounds the memory.
    is_longer = n > m
    pairs = np.full((n + m - 1, min(n, m), len(others)), np.inf, np.float32)
    i = np.arange(n)[:, None]
    for number, other in enumerate(others):
        j = np.arange(len(other))
        pairs[i + j, j if is_longer else i, number] = cdist(frames, other)
    found = np.empty(len(others))
    before = np.full((min(n, m) + 1, len(others)), np.inf, np.float32)  # row i + 1 is entry i
    last = before.copy()
    last[1] = 2 * pairs[0, 0]
    for k in range(n + m - 1):
        if k:
            now = np.full_like(last, np.inf)
            single = np.minimum(last[1:], last[:-1]) + pairs[k]
            now[1:] = np.minimum(single, before[:-1] + 2 * pairs[k])
            before, last = last, now
        ends = lengths == k - n + 2
        found[ends] = last[lengths[ends] if is_longer else n, ends]
    return found / (n + lengths)
