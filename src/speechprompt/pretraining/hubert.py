"""HuBERT pre-training (Hsu et al., 2021): predict an earlier codebook's units of masked frames.

The first iteration's targets are clusters of MFCC, the next one's clusters of a layer of the
iteration before. Recordings are disturbed on the fly, their targets are not (:mod:`.augmentation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechprompt.audio.reading import SAMPLE_RATE, read_audio
from speechprompt.encoders.hubert import save_hubert
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.pretraining.augmentation import augment
from speechprompt.pretraining.model import (
    FRAME_SHIFT,
    FRAME_WINDOW,
    build_hubert,
    masked_prediction,
    model_config,
)
from speechprompt.runtime.device import (
    make_deterministic,
    resolve_device,
    set_compute_threads,
    to_device,
)
from speechprompt.runtime.precision import Precision, resolve_precision
from speechprompt.runtime.progress import log
from speechprompt.storage.files import read_json
from speechprompt.storage.hashes import share_of
from speechprompt.storage.parquet import write_parquet
from speechprompt.storage.tensors import read_tensors
from speechprompt.training.loop import Sums, curve_table, digest, fit
from speechprompt.training.schedule import Schedule
from speechprompt.units.unit_files import read_units

__all__ = ["pretrain_hubert"]

_NO_INFLUENCE = (
    "targets",
    "start_path",
    "out",
    "curve_path",
    "checkpoint_path",
    "checkpoint_seconds",
)
FRAME_RATE = SAMPLE_RATE / FRAME_SHIFT
# Batches drawn at a time, within which utterances are sorted by length.
POOL_BATCHES = 20


@dataclass(frozen=True)
class _Utterance:
    path: Path
    targets: np.ndarray  # int16 (n_frames,)


def pretrain_hubert(
    targets: Mapping[str | Path, str | Path],
    *,
    out: str | Path,
    curve_path: str | Path | None = None,
    checkpoint_path: str | Path | None = None,
    start_path: str | Path | None = None,
    seed: int = 1,
    convolutions: Sequence[Sequence[int]] = ((128, 160, 40), (192, 3, 2), (256, 3, 4)),
    mel_filters: bool = True,
    dim: int = 256,
    layers: int = 5,
    heads: int = 4,
    ffn: int = 768,
    position_kernel: int = 48,
    position_groups: int = 16,
    dropout: float = 0.0,
    mask_share: float = 0.3,
    mask_length: int = 6,
    unmasked_weight: float = 1.0,
    augmentation: bool = True,
    lr: float = 1.5e-3,
    betas: tuple[float, float] = (0.9, 0.98),
    weight_decay: float = 0.01,
    clip: float = 1.0,
    schedule: Schedule = "cosine",
    warmup: int = 200,
    batch_seconds: float = 8.0,
    crop_seconds: float = 6.0,
    max_epochs: int = 10,
    patience: int = 3,
    valid_share: float = 0.02,
    precision: Precision = "fp32",
    half: bool = False,
    device: str = "cpu",
    compute_threads: int = 2,
    checkpoint_seconds: float = 60.0,
) -> dict[str, Any]:
    """Train a HuBERT and write the one with the best loss on held-out utterances.

    Args:
        targets: index.json of each corpus's train units, all of one codebook of 50 frames/s, and
            the folder that its recordings' paths start from: of the same recordings, or of others
            with the same names and lengths.
        out: model.safetensors to write, all layers, as
            :class:`~speechprompt.encoders.hubert.HubertEncoder` reads it.
        curve_path: learning curve (epoch, split, loss, accuracy of masked frames, lr) to write.
        checkpoint_path: resumable state, deleted at the end.
        start_path: model of the iteration before, of the same shape, to start from.
        seed: of weights, order, crops, masks and disturbances.
        convolutions, dim, layers, heads, ffn, position_kernel, position_groups, dropout: see
            :func:`~speechprompt.pretraining.model.model_config`.
        mel_filters, mask_share, mask_length: see
            :func:`~speechprompt.pretraining.model.build_hubert`.
        unmasked_weight: of the frames that are not masked, in training; HuBERT's own is 0.
        augmentation: disturb recordings in training.
        lr, betas, weight_decay: of AdamW.
        clip: largest norm of the gradient; 0 for none.
        schedule, warmup: see :func:`~speechprompt.training.schedule.learning_rate`; in updates.
        batch_seconds: audio in one update.
        crop_seconds: of a longer utterance a random piece is taken.
        max_epochs, patience: at most so many epochs, and so many without a better loss.
        valid_share: share of the utterances held out, chosen by a hash of their names.
        precision: of the products in training; weights are float32.
        half: store weights in 16 bits.
        device: cpu, cuda or auto.
        compute_threads: numeric threads; results may depend on their number in the last bits.
        checkpoint_seconds: least time between two checkpoints.

    Returns:
        The training's metadata as written to the file.

    Raises:
        ArtefactError: the units are of different codebooks, not train, or not 50 a second.
        ConfigError: impossible settings.
        CorpusError: too few utterances, or one that cannot be read.
    """
    settings = {n: value for n, value in locals().items() if n not in _NO_INFLUENCE}
    set_compute_threads(compute_threads)
    device = resolve_device(device)
    make_deterministic(device)
    dtype = resolve_precision(precision, device)
    names, utterances, about = _read_targets(targets, 2 * mask_length)
    held_out = np.array([share_of(name) < valid_share for name in names], bool)
    train, valid = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(train) or not len(valid):
        raise CorpusError(
            f"encoder: {len(names)} train utterances leave {len(train)} to learn from and "
            f"{len(valid)} held out; more utterances are needed"
        )
    lengths = np.array([len(utterance.targets) for utterance in utterances])
    crop = round(crop_seconds * FRAME_RATE)
    budget = round(batch_seconds * FRAME_RATE)

    torch.manual_seed(seed)
    config = model_config(
        convolutions=convolutions,
        dim=dim,
        layers=layers,
        heads=heads,
        ffn=ffn,
        position_kernel=position_kernel,
        position_groups=position_groups,
        dropout=dropout,
    )
    model = build_hubert(
        config,
        n_targets=about["n_units"],
        mask_share=mask_share,
        mask_length=mask_length,
        mel_filters=mel_filters,
    )
    if start_path is not None:
        _start_from(model, start_path)
    model.to(device)

    def batches(epoch: int) -> list[list[int]]:
        generator = np.random.default_rng([seed, epoch])
        return _batches(train, np.minimum(lengths, crop), budget, generator)

    def sums(batch: Sequence[int], batch_seed: int, disturbed: bool, unmasked: float) -> Sums:
        generator = np.random.default_rng(batch_seed)
        torch.manual_seed(batch_seed)
        waveforms, wanted = _load([utterances[i] for i in batch], crop, generator)
        if disturbed:
            waveforms, speed = augment(waveforms, generator)
            wanted = _play(wanted, waveforms.shape[1], speed)
        tensors = (to_device(torch.from_numpy(array), device) for array in (waveforms, wanted))
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss, weight, masked, right = masked_prediction(model, *tensors, unmasked)
        if torch.is_grad_enabled():
            loss.backward()
        return Sums(loss.item(), weight, right, masked)

    def backward(batch: Sequence[int], update_seed: int) -> Sums:
        model.train()
        return sums(batch, update_seed, augmentation, unmasked_weight)

    @torch.no_grad()
    def evaluate() -> Sums:
        model.eval()
        order = _batches(valid, np.minimum(lengths, crop), budget, np.random.default_rng(seed))
        parts = [sums(batch, seed, disturbed=False, unmasked=0.0) for batch in order]
        return Sums.of(parts)

    result = fit(
        dict(model.named_parameters()),
        batches=batches,
        backward=backward,
        evaluate=evaluate,
        seed=seed,
        lr=lr,
        betas=tuple(betas),
        weight_decay=weight_decay,
        clip=clip,
        schedule=schedule,
        warmup=warmup,
        max_epochs=max_epochs,
        patience=patience,
        checkpoint_path=checkpoint_path,
        checkpoint_seconds=checkpoint_seconds,
        fingerprint=digest({**settings, **about, "start": str(start_path or "")}),
    )
    if curve_path is not None:
        write_parquet(curve_path, curve_table(result.curve))
    training = {
        "seed": seed,
        "n_train": len(train),
        "n_held_out": len(valid),
        "hours": round(float(lengths[train].sum()) / FRAME_RATE / 3600, 2),
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "updates": result.updates,
        "held_out_loss": result.best.loss,
        "held_out_accuracy": result.best.accuracy,
    }
    metadata = {"targets": about, "training": training}
    stored = model.wav2vec2.half() if half else model.wav2vec2
    save_hubert(out, stored, config, metadata)
    if checkpoint_path is not None:
        Path(checkpoint_path).unlink(missing_ok=True)
    return metadata


def _read_targets(
    targets: Mapping[str | Path, str | Path], min_frames: int
) -> tuple[list[str], list[_Utterance], dict[str, Any]]:
    """Names, recordings and target units per frame of all utterances, and what the units are."""
    names: list[str] = []
    utterances: list[_Utterance] = []
    about: dict[str, Any] = {"shards": []}
    for index_path, root in targets.items():
        index = read_json(index_path)
        if index["split"] != "train":
            raise ArtefactError(
                f"{index_path}: an encoder is pre-trained on train splits, found {index['split']!r}"
            )
        for key in ("codebook", "codebook_sha256", "n_units"):
            if about.setdefault(key, index[key]) != index[key]:
                raise ArtefactError(
                    f"{index_path}: {key} is {index[key]!r}, expected {about[key]!r} as before"
                )
        about["shards"] += [{"corpus": index["corpus"], **part} for part in index["parts"]]
        table = read_units(index_path, columns=["utt_id", "path", "units", "durations"])
        found = (table.schema.metadata or {}).get(b"frame_rate", b"none").decode()
        if found != str(FRAME_RATE):
            raise ArtefactError(f"{index_path}: expected {FRAME_RATE} frames/s, found {found}")
        for row in table.to_pylist():
            frames = np.repeat(np.array(row["units"], np.int16), row["durations"])
            if len(frames) >= min_frames:
                names.append(f"{index['corpus']}/{row['utt_id']}")
                utterances.append(_Utterance(Path(root) / row["path"], frames))
        if short := len(table) - sum(name.startswith(f"{index['corpus']}/") for name in names):
            log(f"{index_path}: {short} utterances of less than {min_frames} frames are left out")
    return names, utterances, about


def _start_from(model: torch.nn.Module, path: str | Path) -> None:
    tensors, _ = read_tensors(path)
    try:
        model.wav2vec2.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ArtefactError(
            f"{path}: a model of another shape cannot be gone on with ({error})"
        ) from None


def _batches(
    chosen: np.ndarray, lengths: np.ndarray, budget: int, generator: np.random.Generator
) -> list[list[int]]:
    """Utterances of similar length within a budget of frames, in random order."""
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
    """Waveforms ``[B, n_samples]`` and targets ``[B, n_frames]``, cropped to the shortest."""
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
