"""HuBERT pre-training (Hsu et al., 2021): predict an earlier codebook's units of masked frames.

The targets of the first iteration are clusters of MFCC, those of the next one clusters of a layer
of the iteration before. Recordings are augmented on the fly (:mod:`.augmentation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchaudio.models import HuBERTPretrainModel

from speechprompt.audio.reading import SAMPLE_RATE, read_audio
from speechprompt.config.encoders import HubertPretraining
from speechprompt.corpora.manifest import read_root
from speechprompt.encoders.hubert import HUBERT
from speechprompt.errors import ArtefactError, ConfigError, CorpusError
from speechprompt.pretraining.augmentation import augment
from speechprompt.pretraining.model import (
    FRAME_SHIFT,
    FRAME_WINDOW,
    build_hubert,
    masked_prediction,
    model_config,
)
from speechprompt.runtime.device import to_device
from speechprompt.runtime.progress import log
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensors
from speechprompt.training.job import Computation, TrainingFiles, fingerprint
from speechprompt.training.loop import Sums, fit
from speechprompt.training.result import TrainingResult
from speechprompt.training.splits import hold_out, read_train_indexes
from speechprompt.units.unit_files import read_units

__all__ = ["pair_targets", "pretrain_encoder"]

FRAME_RATE = SAMPLE_RATE / FRAME_SHIFT
# Batches drawn at a time, within which utterances are sorted by length.
POOL_BATCHES = 20


def pair_targets(
    units: Sequence[str | Path], heard: Sequence[str | Path]
) -> dict[str | Path, str | Path]:
    """Set the units to predict beside the recordings that are heard.

    Args:
        units: index.json of each train split whose units are predicted.
        heard: manifest of the audio that is heard for each, in the same order.

    Returns:
        Each index with the folder that its recordings' paths start from.

    Raises:
        ConfigError: not as many manifests as indexes.
    """
    if len(units) != len(heard):
        raise ConfigError(f"--heard: expected {len(units)} manifests, found {len(heard)}")
    return dict(zip(units, map(read_root, heard), strict=True))


@dataclass(frozen=True)
class _Utterance:
    path: Path
    targets: np.ndarray  # int16 (n_frames,)


def pretrain_encoder(
    settings: HubertPretraining,
    targets: Mapping[str | Path, str | Path],
    files: TrainingFiles,
    *,
    computation: Computation,
    start: str | Path | None = None,
    seed: int = 1,
) -> TrainingResult:
    """Train a HuBERT and write the one with the best loss on held-out utterances.

    Args:
        settings: the model and its training.
        targets: index.json of each corpus's train units, all of one codebook of 50 frames/s. To
            each belongs the folder that the paths of its recordings start from. These may be other
            recordings of the same names and lengths.
        files: model.safetensors with all layers, as
            :class:`~speechprompt.encoders.hubert.HubertEncoder` reads it; learning curve (epoch,
            split, loss, accuracy of masked frames, lr) and checkpoint.
        computation: device and threads.
        start: model of the iteration before, of the same shape, to start from.
        seed: seed of weights, order, crops, masks and augmentation.

    Raises:
        ArtefactError: the units are of different codebooks, not train, or not 50 a second.
        ConfigError: settings that do not go together.
        CorpusError: too few utterances, or one that cannot be read.
    """
    device, dtype = computation.start(settings.precision)
    names, utterances, about = _read_targets(targets, 2 * settings.mask_length)
    train, valid = hold_out(names, settings.valid_share)
    torch.manual_seed(seed)
    model = build_hubert(settings, about["n_units"])
    if start is not None:
        _start_from(model, start)
    model.to(device)
    trained = _HubertTraining(model, settings, utterances, (train, valid), seed, device, dtype)
    inputs = {"seed": seed, "start": start and sha256_file(start), **about}
    result = fit(
        trained,
        settings,
        files,
        seed=seed,
        fingerprint=fingerprint(settings, computation, inputs),
    )
    training = {
        "seed": seed,
        "n_train": len(train),
        "n_held_out": len(valid),
        "hours": round(float(trained.lengths[train].sum()) / FRAME_RATE / 3600, 2),
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "updates": result.updates,
        "held_out_loss": result.valid_loss,
        "held_out_accuracy": result.valid_accuracy,
    }

    def save(path: str | Path) -> None:
        stored = model.wav2vec2.half() if settings.half else model.wav2vec2
        HUBERT.write(path, stored, model_config(settings), {"targets": about, "training": training})

    files.finish(result, save)
    return result


class _HubertTraining:
    """The model with its recordings, as the loop trains it."""

    def __init__(
        self,
        model: HuBERTPretrainModel,
        settings: HubertPretraining,
        utterances: list[_Utterance],
        splits: tuple[np.ndarray, np.ndarray],
        seed: int,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        self.model, self.settings, self.utterances, self.seed = model, settings, utterances, seed
        self.train, self.valid = splits
        self.device, self.dtype = device, dtype
        self.lengths = np.array([len(utterance.targets) for utterance in utterances])
        self.crop = round(settings.crop_seconds * FRAME_RATE)

    @property
    def parameters(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters())

    def batches(self, epoch: int) -> list[list[int]]:
        return self._batches(self.train, np.random.default_rng([self.seed, epoch]))

    def backward(self, batch: Sequence[int], seed: int) -> Sums:
        self.model.train()
        settings = self.settings
        return self._sums(batch, seed, settings.augmentation, settings.unmasked_weight)

    @torch.no_grad()
    def evaluate(self) -> Sums:
        self.model.eval()
        batches = self._batches(self.valid, np.random.default_rng(self.seed))
        return Sums.over([self._sums(batch, self.seed, False, 0.0) for batch in batches])

    def _batches(self, chosen: np.ndarray, generator: np.random.Generator) -> list[list[int]]:
        budget = round(self.settings.batch_seconds * FRAME_RATE)
        return _batches(chosen, np.minimum(self.lengths, self.crop), budget, generator)

    def _sums(
        self, batch: Sequence[int], seed: int, augmented: bool, unmasked_weight: float
    ) -> Sums:
        generator = np.random.default_rng(seed)
        torch.manual_seed(seed)
        waveforms, targets = _load([self.utterances[i] for i in batch], self.crop, generator)
        if augmented:
            hard = self.settings.hard_augmentation
            waveforms, speed = augment(waveforms, generator, hard=hard)
            targets = _play(targets, waveforms.shape[1], speed)
        heard, wanted = (to_device(torch.from_numpy(a), self.device) for a in (waveforms, targets))
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            found = masked_prediction(self.model, heard, wanted, unmasked_weight)
        if torch.is_grad_enabled():
            found.total.backward()
        total = found.total.detach().double()
        return Sums(total, found.weight, found.n_correct, found.n_masked)


def _read_targets(
    targets: Mapping[str | Path, str | Path], min_frames: int
) -> tuple[list[str], list[_Utterance], dict[str, Any]]:
    """Read all utterances: names, recordings with a unit per frame, and what the units are."""
    names: list[str] = []
    utterances: list[_Utterance] = []
    indexes, about = read_train_indexes(targets)
    for path, index in indexes.items():
        table = read_units(path, columns=["utt_id", "path", "units", "durations"])
        found = (table.schema.metadata or {}).get(b"frame_rate", b"none").decode()
        if found != str(FRAME_RATE):
            raise ArtefactError(f"{path}: expected {FRAME_RATE} frames/s, found {found}")
        n_before = len(names)
        for row in table.to_pylist():
            frames = np.repeat(np.array(row["units"], np.int16), row["durations"])
            if len(frames) >= min_frames:
                names.append(f"{index['corpus']}/{row['utt_id']}")
                utterances.append(_Utterance(Path(targets[path]) / row["path"], frames))
        if short := len(table) - (len(names) - n_before):
            log(f"{path}: {short} utterances of less than {min_frames} frames are left out")
    return names, utterances, about


def _start_from(model: HuBERTPretrainModel, path: str | Path) -> None:
    tensors, _ = read_tensors(path)
    try:
        model.wav2vec2.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ArtefactError(
            f"{path}: expected the shape of the configuration, found another shape ({error})"
        ) from None


def _batches(
    chosen: np.ndarray, lengths: np.ndarray, budget: int, generator: np.random.Generator
) -> list[list[int]]:
    """Divide utterances into batches of similar length within a budget of frames, at random."""
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
    batch: Sequence[_Utterance], crop: int, generator: np.random.Generator
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


def _play(targets: np.ndarray, n_samples: int, speed: float) -> np.ndarray:
    """Targets ``[B, n_frames]`` of recordings that are now played at another speed."""
    frames = np.arange(_n_frames(n_samples))
    middle = (frames * FRAME_SHIFT + FRAME_WINDOW / 2) * speed
    before = np.rint((middle - FRAME_WINDOW / 2) / FRAME_SHIFT).astype(int)
    return targets[:, before.clip(0, targets.shape[1] - 1)]


def _n_frames(n_samples: int) -> int:
    return 1 + (max(n_samples, FRAME_WINDOW) - FRAME_WINDOW) // FRAME_SHIFT
