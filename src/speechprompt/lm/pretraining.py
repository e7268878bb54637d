"""Pre-training of a unit LM from nothing on unlabelled units of train splits.

Every utterance is one sequence ``</s> u1 … un </s>``: no separator, no label, no other split. A
share of the train utterances, chosen by a hash of their names, is held out to stop by.

Small models of little speech learn to guess the next unit from the last few and no more. Where a
share of the utterances comes twice, the second time with units left out, they also learn to look up
in what they heard, in order and at any pace: what a prompt that transcribes needs of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from speechprompt.errors import ArtefactError, ConfigError, CorpusError
from speechprompt.lm.artefact import save_lm
from speechprompt.lm.batching import micro_batches, pack
from speechprompt.lm.dictionary import Dictionary
from speechprompt.lm.model import LMConfig, UnitLM
from speechprompt.runtime.device import (
    make_deterministic,
    resolve_device,
    set_compute_threads,
    to_device,
)
from speechprompt.runtime.precision import Precision, resolve_precision
from speechprompt.storage.files import read_json
from speechprompt.storage.hashes import share_of
from speechprompt.storage.parquet import write_parquet
from speechprompt.training.loop import Sums, curve_table, digest, fit
from speechprompt.training.schedule import Schedule
from speechprompt.units.unit_files import read_units

__all__ = ["pretrain_unit_lm", "read_sentences"]

_NO_INFLUENCE = ("index_paths", "lm_path", "curve_path", "checkpoint_path", "checkpoint_seconds")


def pretrain_unit_lm(
    index_paths: Sequence[str | Path],
    *,
    lm_path: str | Path,
    curve_path: str | Path | None = None,
    checkpoint_path: str | Path | None = None,
    seed: int = 1,
    dictionary: Sequence[int] | None = None,
    layers: int = 4,
    heads: int = 4,
    dim: int = 256,
    ffn: int = 1024,
    max_positions: int = 3072,
    dropout: float = 0.1,
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.98),
    weight_decay: float = 0.01,
    clip: float = 1.0,
    schedule: Schedule = "cosine",
    warmup: int = 100,
    batch_tokens: int = 2048,
    micro_tokens: int = 4096,
    max_epochs: int = 10,
    patience: int = 3,
    valid_share: float = 0.03,
    repeat_share: float = 0.0,
    repeat_kept: float = 0.3,
    half: bool = False,
    precision: Precision = "fp32",
    device: str = "cpu",
    compute_threads: int = 2,
    checkpoint_seconds: float = 30.0,
) -> dict[str, Any]:
    """Train a unit LM and write the one with the best loss on the held-out utterances.

    Args:
        index_paths: index.json of the train splits, all of one codebook.
        lm_path: model.safetensors to write.
        curve_path: learning curve (epoch, split, loss, lr) to write.
        checkpoint_path: resumable state, deleted at the end.
        seed: of weights, order and dropout.
        dictionary: units in id order; 0..K-1 by default.
        layers, heads, dim, ffn, max_positions: see :class:`~speechprompt.lm.model.LMConfig`.
        dropout: of embeddings and residual branches.
        lr, betas, weight_decay: of AdamW.
        clip: largest norm of the gradient; 0 for none.
        schedule, warmup: see :func:`~speechprompt.training.schedule.learning_rate`; in updates.
        batch_tokens: tokens per update, padding not counted.
        micro_tokens: padded tokens computed at once, which bounds memory.
        max_epochs, patience: at most so many epochs, and so many without a better loss.
        valid_share: share of the utterances held out.
        repeat_share: share of the utterances that come twice, ``</s> u1 … un </s> v1 … vm </s>``.
        repeat_kept: least share of the units that is kept in v; each utterance's is drawn above it.
        precision: of the activations; weights are float32.
        half: store weights in 16 bits.
        device: cpu, cuda or auto.
        compute_threads: numeric threads; results may depend on their number in the last bits.
        checkpoint_seconds: least time between two checkpoints.

    Returns:
        The training's metadata as written to the file.

    Raises:
        ArtefactError: the splits are of different codebooks, or not train.
        ConfigError: impossible settings.
        CorpusError: too few utterances, or one too long.
    """
    settings = {n: value for n, value in locals().items() if n not in _NO_INFLUENCE}
    set_compute_threads(compute_threads)
    device = resolve_device(device)
    make_deterministic(device)
    dtype = resolve_precision(precision, device)
    names, sentences, about = read_sentences(index_paths)
    symbols = Dictionary(range(about["n_units"]) if dictionary is None else dictionary)
    if symbols.n_units != about["n_units"]:
        raise ConfigError(
            f"unit LM dictionary: {symbols.n_units} units, but codebook {about['codebook']!r} has "
            f"{about['n_units']}"
        )
    once = [symbols.sentence(units) for units in sentences]
    _check_lengths(names, once, max_positions)
    held_out = np.array([share_of(name) < valid_share for name in names], bool)
    train, valid = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(train) or not len(valid):
        raise CorpusError(
            f"unit LM: {len(names)} train utterances leave {len(train)} to learn from and "
            f"{len(valid)} held out (lm.valid_share {valid_share}); more utterances are needed"
        )

    torch.manual_seed(seed)
    config = LMConfig(symbols.n_symbols, layers, heads, dim, ffn, max_positions)
    model = UnitLM(config, dropout).to(device)

    def drawn(*draw: int) -> list[np.ndarray]:
        if not repeat_share:
            return once
        generator = np.random.default_rng([seed, *draw])
        return [
            _repeat(sequence, repeat_share, repeat_kept, max_positions, generator)
            for sequence in once
        ]

    sequences = drawn()
    lengths: list[int] = []
    to_evaluate = [sequences[i] for i in valid]

    def batches(epoch: int) -> list[list[int]]:
        nonlocal sequences, lengths
        sequences = drawn(epoch, 1)
        lengths = [len(sequence) - 1 for sequence in sequences]
        order = np.random.default_rng([seed, epoch]).permutation(train)
        return _token_batches(lengths, order.tolist(), batch_tokens)

    def backward(batch: Sequence[int], update_seed: int) -> Sums:
        model.train()
        torch.manual_seed(update_seed)
        return _sums(model, sequences, micro_batches(lengths, batch, micro_tokens), dtype)

    result = fit(
        dict(model.named_parameters()),
        batches=batches,
        backward=backward,
        evaluate=lambda: _evaluate(model, to_evaluate, 2 * micro_tokens, dtype),
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
        fingerprint=digest({**settings, **about}),
    )
    if curve_path is not None:
        write_parquet(curve_path, curve_table(result.curve, ("epoch", "split", "loss", "lr")))
    training = {
        "seed": seed,
        "n_train": len(train),
        "n_held_out": len(valid),
        "tokens_per_epoch": int(sum(len(once[i]) - 1 for i in train)),
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "held_out_loss": result.best.loss,
    }
    metadata = {**about, "training": training}
    save_lm(lm_path, model.half() if half else model, symbols, about["codebook_sha256"], metadata)
    if checkpoint_path is not None:
        Path(checkpoint_path).unlink(missing_ok=True)
    return metadata


def read_sentences(
    index_paths: Sequence[str | Path],
) -> tuple[list[str], list[np.ndarray], dict[str, Any]]:
    """Names and units of all utterances of train splits, and what they are.

    Raises:
        ArtefactError: a split other than train, or of another codebook than the first.
    """
    names: list[str] = []
    sentences: list[np.ndarray] = []
    about: dict[str, Any] = {"shards": []}
    for path in index_paths:
        index = read_json(path)
        if index["split"] != "train":
            raise ArtefactError(
                f"{path}: a unit LM is pre-trained on train splits, found {index['split']!r}"
            )
        for key in ("codebook", "codebook_sha256", "n_units"):
            if about.setdefault(key, index[key]) != index[key]:
                raise ArtefactError(
                    f"{path}: {key} is {index[key]!r}, but {index_paths[0]} has {about[key]!r}; "
                    "all corpora of a unit LM share one codebook"
                )
        table = read_units(path, columns=["utt_id", "units"])
        names += [f"{index['corpus']}/{name}" for name in table["utt_id"].to_pylist()]
        sentences += [np.asarray(units, np.int64) for units in table["units"].to_pylist()]
        about["shards"] += [
            {"corpus": index["corpus"], "split": "train", **part} for part in index["parts"]
        ]
    return names, sentences, about


def _loss(model: UnitLM, sequences: list[np.ndarray], dtype: torch.dtype) -> torch.Tensor:
    """Summed cross-entropy of every next token, in nats."""
    packed = pack([sequence[:-1] for sequence in sequences]).to(model.embed.device, dtype)
    scores = model.logits(model(packed))
    rows = packed.wanted_query[packed.wanted_slot]
    target = torch.from_numpy(np.concatenate([sequence[1:] for sequence in sequences]))
    # Not scores[rows]: with several threads its backward adds up in no fixed order.
    chosen = scores.index_select(0, rows)
    return F.cross_entropy(chosen, to_device(target, scores.device), reduction="sum")


def _sums(
    model: UnitLM, sequences: list[np.ndarray], pieces: list[list[int]], dtype: torch.dtype
) -> Sums:
    """Sums over the pieces of a batch; where gradients are enabled they are added up."""
    total = 0.0
    for piece in pieces:
        loss = _loss(model, [sequences[i] for i in piece], dtype)
        if torch.is_grad_enabled():
            loss.backward()
        total += loss.item()
    return Sums(total, sum(len(sequences[i]) - 1 for piece in pieces for i in piece), 0, 0)


@torch.no_grad()
def _evaluate(
    model: UnitLM, sequences: list[np.ndarray], micro_tokens: int, dtype: torch.dtype
) -> Sums:
    model.eval()
    lengths = [len(sequence) - 1 for sequence in sequences]
    pieces = micro_batches(lengths, range(len(sequences)), micro_tokens)
    return _sums(model, sequences, pieces, dtype)


def _repeat(
    sequence: np.ndarray,
    share: float,
    kept: float,
    max_positions: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """With a chance, ``</s> u1 … un </s>`` followed by some of its units in order and ``</s>``."""
    draws = generator.random(len(sequence))
    chance, pace = draws[:2]
    again = sequence[1:-1][draws[2:] < kept + (1 - kept) * pace]
    if chance >= share or len(sequence) + len(again) > max_positions:
        return sequence
    return np.concatenate([sequence, again, sequence[-1:]])


def _token_batches(lengths: Sequence[int], order: Sequence[int], budget: int) -> list[list[int]]:
    """Consecutive utterances of an order, so many that a token budget is reached."""
    batches: list[list[int]] = [[]]
    tokens = 0
    for index in order:
        if tokens >= budget:
            batches.append([])
            tokens = 0
        batches[-1].append(index)
        tokens += lengths[index]
    return batches


def _check_lengths(names: list[str], sequences: list[np.ndarray], max_positions: int) -> None:
    for name, sequence in zip(names, sequences, strict=True):
        if len(sequence) - 1 > max_positions:
            raise CorpusError(
                f"{name}: {len(sequence) - 2} units, but the unit LM has {max_positions} positions "
                "for one more; raise lm.max_positions or cut the recording"
            )
