"""HuBERT pre-training (Hsu et al., 2021): predict an earlier codebook's units of masked frames.

The targets of the first iteration are clusters of MFCC, those of the next one clusters of a layer
of the iteration before. Recordings are augmented on the fly (:mod:`.augmentation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchaudio.models import HuBERTPretrainModel

from speechprompt.audio.front_end import FRAME_RATE
from speechprompt.config.encoders import HubertPretraining
from speechprompt.corpora.manifest import read_root
from speechprompt.encoders.hubert import HUBERT
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.pretraining.batches import Batch, Draw, Loader, Utterance, draw_batches
from speechprompt.pretraining.model import (
    MaskedPrediction,
    build_hubert,
    masked_prediction,
    model_config,
)
from speechprompt.runtime.device import set_compute_threads, to_device
from speechprompt.runtime.progress import log
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensors
from speechprompt.training.job import Computation, TrainingFiles, fingerprint
from speechprompt.training.loop import Sums, fit
from speechprompt.training.result import TrainingResult
from speechprompt.training.splits import hold_out, read_train_indexes
from speechprompt.units.unit_files import read_units

__all__ = ["pair_targets", "pretrain_encoder"]


def pair_targets(
    units: Sequence[str | Path], heard: Sequence[str | Path]
) -> dict[str | Path, str | Path]:
    """Set the units to predict beside the recordings that are heard.

    Args:
        units: index.json of each train split whose units are predicted.
        heard: manifest of the audio that is heard for each, in the same order.

    Returns:
        Each index with its manifest.

    Raises:
        ConfigError: not as many manifests as indexes.
    """
    if len(units) != len(heard):
        raise ConfigError(f"--heard: expected {len(units)} manifests, found {len(heard)}")
    return dict(zip(units, heard, strict=True))


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
        targets: index.json of each corpus's train units, all of one codebook of 50 frames/s, with
            the manifest of the recordings that are heard. These may be others of the same names and
            lengths, in the folder of that manifest.
        files: model.safetensors with all layers, as
            :class:`~speechprompt.encoders.hubert.HubertEncoder` reads it; learning curve (epoch,
            split, loss, accuracy of masked frames, lr) and checkpoint.
        computation: device and threads.
        start: model of the iteration before, of the same shape, to start from.
        seed: seed of weights, order, crops, masks and augmentation.

    Raises:
        ArtefactError: the units are of different codebooks, not train, or not 50 a second; a
            manifest cannot be read.
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
    loader = Loader(utterances, settings)
    trained = _HubertTraining(model, loader, (train, valid), seed, device, dtype)
    inputs = {
        "seed": seed,
        "start": start and sha256_file(start),
        "heard": [sha256_file(manifest) for manifest in targets.values()],
        **about,
    }
    processes = 0
    if device == "cuda":
        # The GPU waits for nothing else. Threads of this process would wait for one another while
        # the readers have the processor, tens of milliseconds for each copy.
        processes = max(1, computation.threads - 1)
        computation = replace(computation, threads=1)
        set_compute_threads(1)
    with loader.ahead(processes) as read:
        result = fit(
            trained,
            settings,
            files,
            seed=seed,
            fingerprint=fingerprint(pretrain_encoder, settings, computation, inputs),
            read=read,
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
        loader: Loader,
        splits: tuple[np.ndarray, np.ndarray],
        seed: int,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        self.model, self.loader, self.seed = model, loader, seed
        self.train, self.valid = splits
        self.device, self.dtype = device, dtype
        self.lengths = np.array([len(utterance.targets) for utterance in loader.utterances])

    @property
    def parameters(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters())

    def batches(self, epoch: int) -> list[Draw]:
        return self._draw(self.train, epoch)

    def backward(self, batch: Batch, seed: int) -> Sums:
        self.model.train()
        torch.manual_seed(seed)
        found = self._predict(batch, self.loader.settings.unmasked_weight)
        found.total.backward()
        return _sums(found)

    @torch.no_grad()
    def evaluate(self) -> Sums:
        self.model.eval()
        torch.manual_seed(self.seed)
        batches = (self.loader.read(draw, augmented=False) for draw in self._draw(self.valid, 0))
        return Sums.over([_sums(self._predict(batch)) for batch in batches])

    def _draw(self, chosen: np.ndarray, epoch: int) -> list[Draw]:
        settings = self.loader.settings
        crop, budget = (
            round(seconds * FRAME_RATE)
            for seconds in (settings.crop_seconds, settings.batch_seconds)
        )
        generator = np.random.default_rng([self.seed, epoch])
        drawn = draw_batches(chosen, np.minimum(self.lengths, crop), budget, generator)
        return [Draw(batch, (self.seed, epoch, number)) for number, batch in enumerate(drawn)]

    def _predict(self, batch: Batch, unmasked_weight: float = 0.0) -> MaskedPrediction:
        heard, wanted = (to_device(tensor, self.device) for tensor in batch)
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            return masked_prediction(self.model, heard, wanted, unmasked_weight)


def _sums(found: MaskedPrediction) -> Sums:
    total = found.total.detach().double()
    return Sums(total, found.weight, found.n_correct, found.n_masked)


def _read_targets(
    targets: Mapping[str | Path, str | Path], min_frames: int
) -> tuple[list[str], list[Utterance], dict[str, Any]]:
    """Read all utterances: names, recordings with a unit per frame, and what the units are."""
    names: list[str] = []
    utterances: list[Utterance] = []
    indexes, about = read_train_indexes(targets)
    for path, index in indexes.items():
        table = read_units(path, columns=["utt_id", "path", "units", "durations"])
        found = (table.schema.metadata or {}).get(b"frame_rate", b"none").decode()
        if found != str(FRAME_RATE):
            raise ArtefactError(f"{path}: expected {FRAME_RATE} frames/s, found {found}")
        n_before, root = len(names), read_root(targets[path])
        for row in table.to_pylist():
            frames = np.repeat(np.array(row["units"], np.int16), row["durations"])
            if len(frames) >= min_frames:
                names.append(f"{index['corpus']}/{row['utt_id']}")
                utterances.append(Utterance(root / row["path"], frames))
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
