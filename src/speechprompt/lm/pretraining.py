"""Pre-training of a unit LM on unlabelled units of train splits.

Every utterance is one sequence ``</s> u1 … un </s>``: no separator, no label, no other split. A
share of the train utterances, chosen by a hash of their names, is held out to stop by.

A small model of little speech learns to guess the next unit from the last few and no more. Where a
share of the utterances comes twice, the second time with units left out, it also learns to look up
what it heard, in order and at any pace. A prompt that transcribes needs this ability.

Beside the next unit, the model learns made-up tasks (:mod:`speechprompt.lm.pretraining_tasks`). The
held-out loss, which decides when to stop, is that of the next unit alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechprompt.config.models import UnitLmSettings
from speechprompt.errors import ArtefactError
from speechprompt.lm.artefact import load_lm, save_lm
from speechprompt.lm.batching import check_lengths, micro_batches, micro_budget
from speechprompt.lm.cache import Cache
from speechprompt.lm.dictionary import Dictionary
from speechprompt.lm.model import LMConfig, UnitLM
from speechprompt.lm.packing import pack
from speechprompt.lm.pretraining_tasks import PretrainingTasks, Questions, make_up_tasks
from speechprompt.lm.sequence_tasks import Dictation
from speechprompt.runtime.device import to_device
from speechprompt.storage.hashes import sha256_file
from speechprompt.training.job import Computation, TrainingFiles, fingerprint
from speechprompt.training.loop import Sums, fit
from speechprompt.training.result import TrainingResult
from speechprompt.training.splits import hold_out, read_train_indexes
from speechprompt.units.unit_files import read_units

__all__ = ["UnitLmTraining", "pretrain_unit_lm", "read_sentences"]


def pretrain_unit_lm(
    settings: UnitLmSettings,
    index_paths: Sequence[str | Path],
    files: TrainingFiles,
    *,
    computation: Computation,
    start: str | Path | None = None,
    seed: int = 1,
) -> TrainingResult:
    """Train a unit LM and write the one with the best loss on the held-out utterances.

    With ``start_share``, what is written is the mean of its weights and those of the unit LM to
    start from (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

    Args:
        settings: the unit LM and its training.
        index_paths: index.json of the train splits, all of one codebook.
        files: model.safetensors, learning curve (epoch, split, loss, lr) and checkpoint.
        computation: device and threads.
        start: unit LM of the same shape and codebook, to start from.
        seed: seed of weights, order and dropout.

    Raises:
        ArtefactError: the splits are of different codebooks, or not train; the unit LM to start
            from has another codebook or shape.
        CorpusError: too few utterances, or one that is too long.
    """
    device, dtype = computation.start(settings.precision)
    names, units, about = read_sentences(index_paths)
    dictionary = Dictionary(range(about["n_units"]))
    sentences = [dictionary.sentence(row) for row in units]
    asked = settings.pretraining_tasks
    n_slots = 0 if asked is None else asked.slots
    check_lengths(names, (len(row) - 1 + n_slots for row in sentences), settings.max_positions)
    train, valid = hold_out(names, settings.valid_share)
    torch.manual_seed(seed)
    shape = (settings.layers, settings.heads, settings.dim, settings.ffn, settings.max_positions)
    model = UnitLM(LMConfig(dictionary.n_symbols, *shape), settings.dropout)
    if start is not None:
        _start_from(model, start, about["codebook_sha256"])
    model.to(device)
    tasks = None
    if asked is not None:
        tasks = make_up_tasks(model.config, names, units, train, asked, seed)
    inputs = {"seed": seed, "start": start and sha256_file(start), **about}
    trained = UnitLmTraining(model, settings, sentences, (train, valid), seed, dtype, tasks)
    result = fit(
        trained,
        settings,
        files,
        seed=seed,
        fingerprint=fingerprint(pretrain_unit_lm, settings, computation, inputs),
    )
    training = {
        "seed": seed,
        "n_train": len(train),
        "n_held_out": len(valid),
        "tokens_per_epoch": sum(len(sentences[i]) - 1 for i in train),
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "held_out_loss": result.valid_loss,
    }
    if start is not None and settings.start_share:
        _average(model, start, settings.start_share)
        sums = trained.evaluate().read()
        training["averaged_held_out_loss"] = float(sums.loss) / sums.weight

    def save(path: str | Path) -> None:
        stored = model.half() if settings.half else model
        save_lm(path, stored, dictionary, about["codebook_sha256"], {**about, "training": training})

    files.finish(result, save, columns=("epoch", "split", "loss", "lr"))
    return result


class UnitLmTraining:
    """The unit LM with its sentences, as the loop trains it.

    Args:
        model: the unit LM.
        settings: its training.
        sentences: ids of all utterances.
        splits: indices of the sentences to learn from, and of those that are held out.
        seed: seed of order and repetitions.
        dtype: number type of the activations.
        tasks: what the model learns beside the next unit; None for nothing.
    """

    def __init__(
        self,
        model: UnitLM,
        settings: UnitLmSettings,
        sentences: list[np.ndarray],
        splits: tuple[np.ndarray, np.ndarray],
        seed: int,
        dtype: torch.dtype,
        tasks: PretrainingTasks | None = None,
    ) -> None:
        self.tasks = None if tasks is None else tasks.to(model.embed.device)
        self.model, self.settings, self.seed, self.dtype = model, settings, seed, dtype
        self.sentences = sentences
        self.budget = micro_budget(
            settings.micro_tokens, model.config.activation_bytes(dtype), model.embed.device
        )
        self.train, valid = splits
        _, drawn = self._draw()
        self.valid = [drawn[i] for i in valid]
        # Those of the present epoch, and the same before a share of them was repeated.
        self.drawn: list[np.ndarray] = []
        self.once: list[np.ndarray] = []
        self.lengths: list[int] = []

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All weights by name, with those that only the made-up tasks have."""
        weights: dict[str, Tensor] = dict(self.model.named_parameters())
        if self.tasks is not None:
            weights |= self.tasks.named_parameters()
        return weights

    def batches(self, epoch: int) -> list[list[int]]:
        """Batches that reach the number of tokens of an update; only the last may have fewer.

        With made-up tasks a batch is of one corpus, and the batches are in random order.
        """
        self.once, self.drawn = self._draw(epoch, 1)
        self.lengths = [len(sentence) - 1 for sentence in self.drawn]
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(self.train)
        if self.tasks is None:
            return _token_batches(self.lengths, order.tolist(), self.settings.batch_tokens)
        batches = [
            batch
            for part in self.tasks.by_corpus(order)
            for batch in _token_batches(self.lengths, part.tolist(), self.settings.batch_tokens)
        ]
        return [batches[i] for i in generator.permutation(len(batches))]

    def backward(self, batch: Sequence[int], seed: int) -> Sums:
        """Add up the gradients of a batch of the present epoch."""
        self.model.train()
        torch.manual_seed(seed)
        questions = None if self.tasks is None else self.tasks.draw(batch, seed)
        lengths: Sequence[int] | Mapping[int, int] = self.lengths
        sentences = self.drawn
        if questions is not None and questions.reads_once:
            sentences = self.once
            lengths = {i: len(sentences[i]) - 1 + questions.room(i) for i in batch}
        pieces = micro_batches(lengths, batch, self.budget)
        return _sums(self.model, sentences, pieces, self.dtype, questions)

    @torch.no_grad()
    def evaluate(self) -> Sums:
        """Sums over the held-out sentences."""
        self.model.eval()
        lengths = [len(sentence) - 1 for sentence in self.valid]
        # Twice the budget: without gradients a micro-batch needs less memory.
        pieces = micro_batches(lengths, range(len(self.valid)), 2 * self.budget)
        return _sums(self.model, self.valid, pieces, self.dtype)

    def _draw(self, *draw: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """All sentences once, and a share of them twice; each ``draw`` chooses anew.

        With made-up tasks, a drawn sentence loses a share of its units.
        """
        once, settings = self.sentences, self.settings
        generator = np.random.default_rng([self.seed, *draw])
        if draw and self.tasks is not None:
            share = self.tasks.settings.unit_dropout
            once = [_leave_out_units(sentence, share, generator) for sentence in once]
        if not settings.repeat_share:
            return once, once
        return once, [_repeat(sentence, settings, generator) for sentence in once]


def read_sentences(
    index_paths: Sequence[str | Path],
) -> tuple[list[str], list[np.ndarray], dict[str, Any]]:
    """Read all utterances of train splits: names, units, and what the units are.

    Raises:
        ArtefactError: a split other than train, or of another codebook than the first.
    """
    names: list[str] = []
    sentences: list[np.ndarray] = []
    indexes, about = read_train_indexes(index_paths)
    about["shards"] = [{"split": "train", **shard} for shard in about["shards"]]
    for path, index in indexes.items():
        table = read_units(path, columns=["utt_id", "units"])
        names += [f"{index['corpus']}/{name}" for name in table["utt_id"].to_pylist()]
        sentences += [np.asarray(units, np.int64) for units in table["units"].to_pylist()]
    return names, sentences, about


def _start_from(model: UnitLM, path: str | Path, codebook_sha256: str) -> None:
    found = load_lm(path, codebook_sha256).model
    if found.config != model.config:
        raise ArtefactError(
            f"{path}: expected the shape of the configuration, {model.config.to_dict()}, "
            f"found {found.config.to_dict()}"
        )
    model.load_state_dict(found.state_dict())


@torch.no_grad()
def _average(model: UnitLM, start: str | Path, share: float) -> None:
    """Move weights towards those of the start, by its share."""
    first = dict(load_lm(start).model.named_parameters())
    for name, weight in model.named_parameters():
        weight.lerp_(first[name].to(weight), share)


def _loss(
    model: UnitLM, sequences: list[np.ndarray], dtype: torch.dtype, cache: Cache | None = None
) -> torch.Tensor:
    """Cross-entropy in nats, summed over all tokens, each predicted from those before it."""
    device = model.embed.device
    packed = pack([sequence[:-1] for sequence in sequences], device=device, dtype=dtype)
    scores = model.logits(model(packed, cache=cache))
    target = torch.from_numpy(np.concatenate([sequence[1:] for sequence in sequences]))
    # Not scores[answers]: with several threads the order in which its backward adds up changes.
    chosen = scores.index_select(0, packed.answers)
    return F.cross_entropy(chosen, to_device(target, scores.device), reduction="sum")


def _sums(
    model: UnitLM,
    sequences: list[np.ndarray],
    pieces: list[list[int]],
    dtype: torch.dtype,
    questions: Questions | Dictation | None = None,
) -> Sums:
    """Sums over the micro-batches of a batch; where gradients are enabled they are added up.

    The made-up tasks' losses have gradients, but only the next unit's loss is in the sums.
    """
    parts = []
    n_tokens = [sum(len(sequences[i]) - 1 for i in piece) for piece in pieces]
    # The loop divides by the tokens, which makes this the tasks' mean over the utterances.
    scale = sum(n_tokens) / sum(map(len, pieces))
    for piece, n in zip(pieces, n_tokens, strict=True):
        cache = None if questions is None else Cache(max(map(questions.room, piece)))
        loss = total = _loss(model, [sequences[i] for i in piece], dtype, cache)
        n_correct: int | Tensor = 0
        n_answers = 0
        if questions is not None and cache is not None:
            answered, n_correct, n_answers = questions.ask(model, cache, piece, scale)
            total = loss + answered
        if torch.is_grad_enabled():
            total.backward()
        parts.append(Sums(loss.detach().double(), n, n_correct, n_answers))
    return Sums.over(parts)


def _leave_out_units(
    sequence: np.ndarray, share: float, generator: np.random.Generator
) -> np.ndarray:
    """A sequence without a random share of its units."""
    kept = generator.random(len(sequence)) >= share
    kept[[0, -1]] = True
    return sequence[kept]


def _repeat(
    sequence: np.ndarray, settings: UnitLmSettings, generator: np.random.Generator
) -> np.ndarray:
    """Perhaps append some of the sequence's units, in order, and ``</s>``."""
    kept = settings.repeat_kept
    slots = 0 if settings.pretraining_tasks is None else settings.pretraining_tasks.slots
    most = settings.max_positions - slots
    draws = generator.random(len(sequence))
    chance, pace = draws[:2]
    again = sequence[1:-1][draws[2:] < kept + (1 - kept) * pace]
    if chance >= settings.repeat_share or len(sequence) + len(again) > most:
        return sequence
    return np.concatenate([sequence, again, sequence[-1:]])


def _token_batches(lengths: Sequence[int], order: Sequence[int], budget: int) -> list[list[int]]:
    """Divide an order into batches of consecutive utterances that just reach a token budget."""
    batches: list[list[int]] = [[]]
    tokens = 0
    for index in order:
        if tokens >= budget:
            batches.append([])
            tokens = 0
        batches[-1].append(index)
        tokens += lengths[index]
    return batches
