"""Batches of recordings with their targets, read in order, and in processes ahead of a GPU.

A batch depends on its utterances and its seed alone, not on where it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from speechprompt.audio.front_end import FRAME_RATE, FRAME_SHIFT, FRAME_WINDOW
from speechprompt.audio.reading import read_audio
from speechprompt.config.encoders import HubertPretraining
from speechprompt.errors import CorpusError, SpeechPromptError
from speechprompt.pretraining.augmentation import augment

__all__ = ["Batch", "Draw", "Loader", "Utterance", "draw_batches", "play"]

# Batches drawn at a time, within which utterances are sorted by length.
POOL_BATCHES = 20
# Batches that each process has read, or is to read, before the first of them is used.
PER_PROCESS = 2


@dataclass(frozen=True)
class Utterance:
    """A recording with its targets.

    Attributes:
        path: the recording.
        targets: a unit for each frame, int16 ``[n_frames]``.
    """

    path: Path
    targets: np.ndarray


class Draw(NamedTuple):
    """Utterances that make a batch.

    Attributes:
        chosen: indices of the utterances.
        seed: seed of crops and augmentation.
    """

    chosen: list[int]
    seed: tuple[int, ...]


class Batch(NamedTuple):
    """What the model hears and predicts.

    Attributes:
        waveforms: float32 ``[B, n_samples]`` at 16 kHz, all of one length.
        targets: units, int64 ``[B, n_frames]``.
    """

    waveforms: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Loader:
    """Reads batches.

    Attributes:
        utterances: all utterances.
        settings: length of crops, and augmentation.
    """

    utterances: Sequence[Utterance]
    settings: HubertPretraining

    def read(self, draw: Draw, augmented: bool = True) -> Batch:
        """Read the recordings of a batch, and augment them where the settings say so.

        Raises:
            CorpusError: a recording cannot be read, or is not the one of its targets.
        """
        generator = np.random.default_rng(draw.seed)
        crop = round(self.settings.crop_seconds * FRAME_RATE)
        chosen = [self.utterances[index] for index in draw.chosen]
        waveforms, targets = _load(chosen, crop, generator)
        if augmented and self.settings.augmentation:
            hard = self.settings.hard_augmentation
            waveforms, speed = augment(waveforms, generator, hard=hard)
            targets = play(targets, waveforms.shape[1], speed)
        return Batch(torch.from_numpy(waveforms), torch.from_numpy(targets))

    @contextmanager
    def ahead(self, processes: int) -> Iterator[Callable[[Sequence[Draw]], Iterable[Batch]]]:
        """Yield what reads batches in order, ahead in processes; with none, when one is asked for.

        An error comes where its batch would.
        """
        if not processes:
            yield lambda draws: map(self.read, draws)
            return
        with TemporaryDirectory(prefix="speechprompt-") as folder:
            saved = _Saved(Path(folder) / "utterances.npz", self.settings)
            saved.write(self.utterances)
            coming: list[Draw] = []
            ahead = DataLoader(
                cast("Dataset[Batch | str]", saved),
                batch_size=None,
                sampler=coming,
                num_workers=processes,
                prefetch_factor=PER_PROCESS,
                persistent_workers=True,
                # Neither torch's threads nor a GPU's context survive a fork.
                multiprocessing_context="spawn",
            )

            def read(draws: Sequence[Draw]) -> Iterable[Batch]:
                coming[:] = draws
                for batch in ahead:
                    if isinstance(batch, str):
                        raise CorpusError(batch)
                    yield batch

            yield read


class _Saved:
    """A loader whose utterances are in a file.

    Many utterances do not fit the pipe to a new process: the next one would start only when the one
    before has imported everything and read them.
    """

    def __init__(self, path: Path, settings: HubertPretraining) -> None:
        self.path, self.settings = path, settings
        self.loader: Loader | None = None

    def __getitem__(self, draw: Draw) -> Batch | str:
        """Read a batch in a process, from which an error comes as its text."""
        if self.loader is None:
            self.loader = Loader(self.read(), self.settings)
        try:
            return self.loader.read(draw)
        except SpeechPromptError as error:
            return str(error)

    def write(self, utterances: Sequence[Utterance]) -> None:
        """Write the utterances' paths, and their targets one after the other."""
        np.savez(
            self.path,
            paths=np.array([str(utterance.path) for utterance in utterances]),
            ends=np.cumsum([len(utterance.targets) for utterance in utterances]),
            targets=np.concatenate([utterance.targets for utterance in utterances]),
        )

    def read(self) -> list[Utterance]:
        """Read the utterances."""
        with np.load(self.path) as found:
            targets = np.split(found["targets"], found["ends"][:-1])
            paths = map(Path, found["paths"].tolist())
            return [Utterance(*pair) for pair in zip(paths, targets, strict=True)]


def draw_batches(
    chosen: np.ndarray, lengths: np.ndarray, budget: int, generator: np.random.Generator
) -> list[list[int]]:
    """Divide utterances into batches of similar length within a budget of frames, at random.

    Args:
        chosen: indices of the utterances.
        lengths: frames of every utterance.
        budget: most frames of a batch; a longer utterance is a batch of its own.
        generator: source of randomness.
    """
    order = generator.permutation(chosen)
    pool = max(1, round(POOL_BATCHES * budget / max(1.0, lengths[chosen].mean())))
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        drawn = order[start : start + pool]
        batch: list[int] = []
        frames = 0
        for index in drawn[np.argsort(lengths[drawn], kind="stable")].tolist():
            if batch and frames + lengths[index] > budget:
                batches.append(batch)
                batch, frames = [], 0
            batch.append(index)
            frames += int(lengths[index])
        batches.append(batch)
    return [batches[i] for i in generator.permutation(len(batches))]


def _load(
    batch: Sequence[Utterance], crop: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Load waveforms ``[B, n_samples]`` and targets ``[B, n_frames]``, as long as the shortest."""
    n_frames = min(crop, *(len(utterance.targets) for utterance in batch))
    n_samples = FRAME_WINDOW + (n_frames - 1) * FRAME_SHIFT
    waveforms = np.zeros((len(batch), n_samples), np.float32)
    targets = np.zeros((len(batch), n_frames), np.int64)
    for row, utterance in enumerate(batch):
        start = int(generator.integers(len(utterance.targets) - n_frames + 1))
        waveform = read_audio(utterance.path)
        if abs(_n_frames(len(waveform)) - len(utterance.targets)) > 1:
            raise CorpusError(
                f"{utterance.path}: {_n_frames(len(waveform))} frames, but "
                f"{len(utterance.targets)} target units; were they made of another recording?"
            )
        piece = waveform[start * FRAME_SHIFT :][:n_samples]
        waveforms[row, : len(piece)] = piece
        targets[row] = utterance.targets[start : start + n_frames]
    return waveforms, targets


def play(targets: np.ndarray, n_samples: int, speed: float) -> np.ndarray:
    """Targets ``[B, n_frames]`` of recordings that are now played at another speed."""
    frames = np.arange(_n_frames(n_samples))
    middle = (frames * FRAME_SHIFT + FRAME_WINDOW / 2) * speed
    before = np.rint((middle - FRAME_WINDOW / 2) / FRAME_SHIFT).astype(int)
    return targets[:, before.clip(0, targets.shape[1] - 1)]


def _n_frames(n_samples: int) -> int:
    return 1 + (max(n_samples, FRAME_WINDOW) - FRAME_WINDOW) // FRAME_SHIFT
